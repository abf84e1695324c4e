import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from '@cdktf/hcl2json'
import { assumedRole } from '../kms/cloudtrail'
import { keyArn, type Made, made } from './events'

// The alarm templates of docs/aws: checked by a linter, alike, and what they are to find is found by their patterns.
const folder = join(__dirname, '..', '..', 'docs', 'aws')
const stackFile = join(folder, 'alarms.json')
const roleArn = 'arn:aws:iam::111122223333:role/app'
const given: Record<string, string> = { KeyArn: keyArn, RoleArn: roleArn, key_arn: keyArn, role_arn: roleArn }

interface Templates {
  readonly used: unknown
  readonly refused: unknown
  readonly filter: string
  readonly states: readonly string[]
  readonly alarm: object
}

/** What CloudFormation makes of the template, where the parameters are these. */
function readStack(): Templates {
  const { Resources } = JSON.parse(readFileSync(stackFile, 'utf8'), (_name, value) => {
    if (value?.Ref in given) return given[value.Ref]
    return value?.['Fn::Sub']?.replace(/\$\{(\w+)\}/g, (all: string, name: string) => given[name] ?? all) ?? value
  })
  const { Statistic, Period, ComparisonOperator, TreatMissingData } = Resources.ManyOpenings.Properties
  return {
    used: Resources.UsedByOthers.Properties.EventPattern,
    refused: Resources.Refused.Properties.EventPattern,
    filter: Resources.Openings.Properties.FilterPattern,
    states: [Resources.UsedByOthers, Resources.Refused].map(({ Properties }) => Properties.State),
    alarm: { Statistic, Period, ComparisonOperator, TreatMissingData },
  }
}

/** What Terraform makes of the module, where the variables are these. */
async function readModule(): Promise<Templates> {
  const { resource } = (await parse('alarms.tf', readFileSync(join(folder, 'alarms.tf'), 'utf8'))) as Record<
    string,
    any
  >
  const filled = (text: string) => text.replace(/\$\{var\.(\w+)\}/g, (all, name: string) => given[name] ?? all)
  const patternOf = async ([rule]: { event_pattern: string }[]) => {
    const [, object] = /^\$\{jsonencode\((.*)\)\}$/s.exec(rule!.event_pattern)!
    return JSON.parse(filled(JSON.stringify((await parse('pattern.tf', `pattern = ${object}`)).pattern)))
  }
  const { used_by_others, refused } = resource.aws_cloudwatch_event_rule
  const [alarm] = resource.aws_cloudwatch_metric_alarm.many_openings
  return {
    used: await patternOf(used_by_others),
    refused: await patternOf(refused),
    filter: filled(resource.aws_cloudwatch_log_metric_filter.openings[0].pattern),
    states: [used_by_others, refused].map(([rule]) => rule.state),
    alarm: {
      Statistic: alarm.statistic,
      Period: alarm.period,
      ComparisonOperator: alarm.comparison_operator,
      TreatMissingData: alarm.treat_missing_data,
    },
  }
}

/**
 * Whether an event matches a pattern of EventBridge, as far as these patterns use the language.
 *
 * @see https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
 */
function matches(pattern: any, event: any): boolean {
  return Object.entries(pattern).every(([name, expected]: [string, any]) => {
    if (name === '$or') return expected.some((each: unknown) => matches(each, event))
    const values = Array.isArray(event) ? event.map((each) => each?.[name]) : [event?.[name]]
    if (!Array.isArray(expected)) return values.some((value) => matches(expected, value))
    return values.some((value) => expected.some((each) => isMet(each, value ?? undefined)))
  })
}

function isMet(expected: any, value: unknown): boolean {
  if (typeof expected === 'string') return value === expected
  const [[operator, operand]] = Object.entries(expected) as [[string, any]]
  switch (operator) {
    case 'exists':
      return (value !== undefined) === operand
    case 'anything-but':
      return value !== undefined && !operand.includes(value)
    case 'prefix':
      return typeof value === 'string' && value.startsWith(operand)
    case 'wildcard':
      return typeof value === 'string' && value.includes(operand.replaceAll('*', ''))
    default:
      throw new Error(`The operator ${operator} is not known here`)
  }
}

const wrapped = (event: Made) => ({
  source: 'aws.kms',
  'detail-type': 'AWS API Call via CloudTrail',
  detail: made({ record: 'User/1', ...event }),
})
const other = { key: keyArn.replace('1234abcd', '9999ffff') }
const user = { userIdentity: { type: 'IAMUser', arn: 'arn:aws:iam::111122223333:user/x' } }
const intruder = { userIdentity: assumedRole('ci-deploy', 'laptop') }
const denied = { errorCode: 'AccessDeniedException' }

const cases: [name: string, event: ReturnType<typeof wrapped>, used: boolean, refused: boolean][] = [
  ['the application opens a record', wrapped({}), false, false],
  ['the application makes a data key', wrapped({ operation: 'GenerateDataKey' }), false, false],
  ['another role opens a record', wrapped(intruder), true, false],
  ['another role re-wraps', wrapped({ ...intruder, operation: 'ReEncrypt' }), true, false],
  ['another role makes a data key', wrapped({ ...intruder, operation: 'GenerateDataKeyPair' }), true, false],
  ['a user, who has no role', wrapped(user), true, false],
  ['another role, another key', wrapped({ ...intruder, ...other }), false, false],
  ['another role looks at the key', wrapped({ ...intruder, operation: 'DescribeKey' }), false, false],
  ['the application gives a wrong context', wrapped({ errorCode: 'InvalidCiphertextException' }), false, true],
  ['the application is held back', wrapped({ errorCode: 'ThrottlingException' }), false, false],
  ['another role is denied', wrapped({ ...intruder, ...denied }), true, true],
  ['a denial by another key', wrapped({ ...denied, ...other }), false, false],
]

test.each(cases)('%s', (_name, event, used, refused) => {
  const stack = readStack()
  expect([matches(stack.used, event), matches(stack.refused, event)]).toEqual([used, refused])
})

test('a denial without resources is found by its message', () => {
  const event = wrapped(denied)
  const message = (arn: string) =>
    `User: x is not authorized to perform: kms:Decrypt on resource: ${arn} because no policy allows it`
  const without = (arn: string) => ({
    ...event,
    detail: { ...event.detail, resources: undefined, errorMessage: message(arn) },
  })
  expect(matches(readStack().refused, without(keyArn))).toBe(true)
  expect(matches(readStack().refused, without(other.key))).toBe(false)
})

test('CloudFormation and Terraform make the same rules, filter and alarm', async () => {
  const stack = readStack()
  expect(await readModule()).toEqual(stack)
  expect(stack.states).toEqual(Array(2).fill('ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS'))
  expect(stack.filter).toContain(`$.resources[0].ARN = "${keyArn}"`)
})

test('the linter of CloudFormation has nothing to say', () => {
  const { error, stdout, status } = spawnSync('cfn-lint', [stackFile], { encoding: 'utf8' })
  if (error) console.warn('There is no cfn-lint here: the template of the alarms is not linted.')
  else expect([stdout, status]).toEqual(['', 0])
})
