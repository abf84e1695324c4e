// Makes docs/audit.png anew: the page of a report, as a browser shows it.
//
//     node --import tsx test/trail/picture.ts
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { auditTrail } from '../../lib/trail/audit'
import { formats } from '../../lib/trail/formats'
import { browserPath, openBrowser } from './browser'
import { folder } from './events'
import { sample } from './sample'

const path = join(__dirname, '..', '..', 'docs', 'audit.png')

async function run(colorScheme: 'light' | 'dark'): Promise<void> {
  const executable = browserPath()
  if (executable === undefined) throw new Error('A picture needs Chromium.')
  const files = folder()
  const browser = await openBrowser(executable)
  try {
    const { events, log } = sample()
    const trail = files.records(events)
    const report = await auditTrail({ paths: [trail], appLog: [files.lines(log, 'app.txt')] })
    const page = await browser.newPage({ colorScheme, viewport: { width: 1100, height: 1800 } })
    await page.goto(pathToFileURL(files.write(formats.html(report), 'report.html')).href)
    await page.screenshot({ path })
  } finally {
    await browser.close()
    files.remove()
  }
}

void run(process.argv.includes('--dark') ? 'dark' : 'light')
