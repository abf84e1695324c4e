import { pathToFileURL } from 'node:url'
import type { Browser, Page } from 'playwright-core'
import { auditTrail } from '../../lib/trail/audit'
import { formats } from '../../lib/trail/formats'
import { browserPath, openBrowser } from './browser'
import { folder, made } from './events'
import { sample } from './sample'

// The page that `audit --format html` writes, in a browser without a network.
const executable = browserPath()
const files = folder()
let browser: Browser
beforeAll(async () => {
  if (executable === undefined)
    console.warn('There is no Chromium here: the page of a report was not looked at in a browser.')
  else browser = await openBrowser(executable)
})
afterAll(async () => {
  await browser?.close()
  files.remove()
})

/** Of a machine without a browser one test remains, which says so; the text of the page is tested in `formats.test.ts` as well. */
function inBrowser(name: string, run: () => Promise<void>): void {
  if (executable !== undefined) test(name, run)
}
if (executable === undefined) {
  test('is not looked at in a browser, for there is none here', () => {
    console.warn('There is no Chromium here: the page of a report is not looked at in a browser.')
  })
}

interface Opened {
  readonly page: Page
  /** What the page asked for beside itself, and what it complained of. */
  readonly requests: string[]
  readonly complaints: string[]
}

async function open(html: string, colorScheme: 'light' | 'dark' = 'light'): Promise<Opened> {
  const context = await browser.newContext({ colorScheme, offline: true, viewport: { width: 1100, height: 900 } })
  const page = await context.newPage()
  const url = pathToFileURL(files.write(html, 'report.html')).href
  const requests: string[] = []
  const complaints: string[] = []
  page.on('request', (request) => request.url() !== url && requests.push(request.url()))
  page.on('console', (message) => complaints.push(message.text()))
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('dialog', (dialog) => {
    complaints.push(dialog.message())
    void dialog.dismiss()
  })
  await page.goto(url)
  return { page, requests, complaints }
}

async function sampleHtml(): Promise<string> {
  const { events, log } = sample()
  const trail = folder()
  trail.records(events)
  const report = await auditTrail({ paths: [trail.path], appLog: [trail.lines(log, 'app.txt')] })
  trail.remove()
  return formats.html(report)
}

inBrowser('opens without a network, shows its drawings and says what is alarming', async () => {
  const { page, requests, complaints } = await open(await sampleHtml())
  expect([requests, complaints]).toEqual([[], []])
  expect(await page.title()).toBe('Who opened which record')
  expect(await page.locator('.loud').allTextContents()).toEqual([
    expect.stringContaining('nothing of 124 of these calls'),
  ])
  const drawings = await page.locator('figure svg[role=img]').all()
  expect(drawings).toHaveLength(4)
  for (const drawing of drawings) {
    const box = await drawing.boundingBox()
    expect(box!.height).toBeGreaterThan(100)
    expect(await drawing.getAttribute('aria-label')).not.toBe('')
  }
  // Without colour: bars have patterns, hours have numbers, alarms have a shape.
  const fills = await page.evaluate<string[]>(
    `['opened', 'generated', 'rewrapped', 'failed'].map((kind) => getComputedStyle(document.querySelector('rect.' + kind)).fill)`,
  )
  expect(new Set(fills).size).toBe(4)
  expect(await page.locator('figure').nth(3).locator('text').allTextContents()).toEqual(
    expect.arrayContaining(['Mon', '23']),
  )
  expect(await page.locator('figure').first().locator('path.alarm').count()).toBeGreaterThan(0)
  for (const legend of await page.locator('.legend').all())
    expect((await legend.boundingBox())!.height).toBeLessThan(60)
  // Nothing is wider than the window.
  expect(await page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBeLessThanOrEqual(0)
})

inBrowser('its tables can be searched', async () => {
  const { page } = await open(await sampleHtml())
  await page.getByLabel('Search all tables').fill('CI-DEPLOY')
  const rows = await page.locator('tbody tr:visible').allTextContents()
  expect(rows.length).toBeGreaterThan(100)
  for (const row of rows) expect(row).toContain('ci-deploy')
  expect(await page.locator('#found').textContent()).toBe(`${rows.length} rows`)
  await page.getByLabel('Search all tables').fill('')
  expect(await page.locator('#records tbody tr:visible').count()).toBeGreaterThan(200)
})

inBrowser('its tables can be sorted, numbers as numbers', async () => {
  const { page, complaints } = await open(await sampleHtml())
  const head = page.locator('#records th', { hasText: 'opened' })
  const column = async () => (await page.locator('#records tbody td:nth-child(2)').allTextContents()).map(Number)
  await head.getByRole('button').click()
  const ascending = await column()
  expect(ascending).toEqual([...ascending].sort((a, b) => a - b))
  expect(await head.getAttribute('aria-sort')).toBe('ascending')
  await head.getByRole('button').click()
  expect(await column()).toEqual([...ascending].reverse())
  expect(complaints).toEqual([])
})

inBrowser('it is readable in the dark as in the light', async () => {
  const html = await sampleHtml()
  const contrasts: number[] = []
  for (const scheme of ['light', 'dark'] as const) {
    const { page } = await open(html, scheme)
    const [ground, ...others] = await page.evaluate<string[]>(
      `[['body', 'backgroundColor'], ['body', 'color'], ['.note', 'color'], ['.loud', 'color'], ['rect.opened', 'fill']]
        .map(([selector, property]) => getComputedStyle(document.querySelector(selector))[property])`,
    )
    contrasts.push(...others.map((color) => contrastOf(color, ground!)))
  }
  expect(contrasts).toHaveLength(8)
  // WCAG 2.2, 1.4.3: level AA.
  for (const contrast of contrasts) expect(contrast).toBeGreaterThan(4.5)
})

inBrowser('nothing from outside runs in it', async () => {
  const texts = [
    '</script><script>alert(1)</script>',
    '<img src=x onerror=alert(1)>',
    `"><svg onload=alert(1)>`,
    '{{constructor}}',
  ]
  const trail = folder()
  trail.records(texts.map((text) => made({ record: text, userAgent: text, sourceIPAddress: text })))
  const html = formats.html(await auditTrail({ paths: [trail.path], principal: '', record: undefined }))
  trail.remove()
  const { page, requests, complaints } = await open(html)
  expect([requests, complaints]).toEqual([[], []])
  expect(await page.locator('#records td:first-child').allTextContents()).toEqual(expect.arrayContaining(texts))
  expect(await page.locator('script, img, svg[onload]').count()).toBe(1)
  // Even where something had got through, the policy of the page would stop it.
  const refused = page.waitForEvent('console', (message) => message.text().includes('inline event handler'))
  await page.evaluate(`document.body.insertAdjacentHTML('beforeend', '<img src="data:," onerror="alert(1)">')`)
  await refused
  expect(complaints.every((complaint) => complaint.includes('Content Security Policy'))).toBe(true)
})

/** By WCAG's formula, of colours as `rgb(1, 2, 3)`. */
function contrastOf(one: string, other: string): number {
  const [dark, light] = [luminanceOf(one), luminanceOf(other)].sort((a, b) => a - b) as [number, number]
  return (light + 0.05) / (dark + 0.05)
}

function luminanceOf(color: string): number {
  const [red, green, blue] = color.match(/\d+/g)!.map((each) => {
    const part = Number(each) / 255
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  }) as [number, number, number]
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}
