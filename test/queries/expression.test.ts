import { checkExpression } from '../../lib/queries/filter'
import { Box } from '../../lib/schema/box'
import { branch, Filter, odd, place, refusal, root, value } from './layouts'

const { field, use } = root.children.get('email')!.fields[0]!
const box = () => Box.open(field, use, undefined, value)

/** Each with the path that the message names. */
const refusals: [string, unknown, string][] = [
  ['a path', '$email', 'email'],
  ['a path below a field', '$address.city', 'address.city'],
  ['a path of elements', '$contacts.phone', 'contacts.phone'],
  ['a path in a map', '$byName.ada.phone', 'byName.ada.phone'],
  ['$$ROOT', '$$ROOT.email', 'email'],
  ['$$CURRENT', '$$CURRENT.email', 'email'],
  ['an operator', { $eq: ['$email', value] }, 'email'],
  ['an operator deep within', { a: [{ b: { $cond: [true, { $toUpper: '$email' }, null] } }] }, 'email'],
  ['a class', new Filter({ $eq: ['$email', value] }), 'email'],
  ['a Map', new Map([['$toUpper', '$email']]), 'email'],
  ['named operands', { $regexMatch: { input: '$email', regex: 'x' } }, 'email'],
  ['a variable', { $let: { vars: { r: '$$ROOT' }, in: { $eq: ['$$r.email', value] } } }, 'r.email'],
  [
    'a variable of a variable',
    { $let: { vars: { r: '$$ROOT' }, in: { $let: { vars: { q: '$$r.one' }, in: '$$q.phone' } } } },
    'q.phone',
  ],
  ['a variable that is made', { $let: { vars: { r: { a: ['$$ROOT'] } }, in: '$$r.a.email' } }, 'r.a.email'],
  ['a variable by a condition', { $let: { vars: { r: { $cond: branch(true, '$one') } }, in: '$$r.phone' } }, 'r.phone'],
  [
    'a variable by $switch',
    { $let: { vars: { r: { $switch: { branches: [branch(true, '$one')] } } }, in: '$$r.phone' } },
    'r.phone',
  ],
  [
    'a variable by default of $switch',
    { $let: { vars: { r: { $switch: { branches: [], default: '$one' } } }, in: '$$r.phone' } },
    'r.phone',
  ],
  ['a case of $switch', { $switch: { branches: [branch('$email', 1)] } }, 'email'],
  ['$map', { $map: { input: '$contacts', in: '$$this.phone' } }, 'this.phone'],
  ['$map by a name', { $map: { input: '$contacts', as: 'c', in: { $concat: ['$$c.phone'] } } }, 'c.phone'],
  [
    '$map of a list of lists',
    { $map: { input: '$grid', in: { $map: { input: '$$this', as: 'c', in: '$$c.phone' } } } },
    'c.phone',
  ],
  ['$filter', { $filter: { input: '$contacts', cond: { $eq: ['$$this.phone', value] } } }, 'this.phone'],
  ['$filter, its limit', { $filter: { input: '$tags', cond: true, limit: '$email' } }, 'email'],
  [
    '$reduce by an element',
    { $reduce: { input: '$contacts', initialValue: '', in: { $concat: ['$$value', '$$this.phone'] } } },
    'this.phone',
  ],
  [
    '$reduce by its value',
    { $reduce: { input: '$contacts', initialValue: null, in: { $cond: ['$$value.phone', 1, '$$this'] } } },
    'value.phone',
  ],
  ['$getField', { $getField: 'email' }, 'email'],
  ['$getField by name', { $getField: { field: 'phone', input: '$one' } }, 'phone'],
  ['$getField of a literal', { $getField: { $literal: 'email' } }, 'email'],
  ['$getField of what is computed', { $getField: { field: { $concat: ['em', 'ail'] }, input: '$$ROOT' } }, 'email'],
  [
    '$getField of what is computed, in a map',
    {
      $let: {
        vars: { m: { $arrayToObject: [['x', '$one']] } },
        in: { $getField: { field: 'phone', input: { $getField: { field: '$name', input: '$$m' } } } },
      },
    },
    'phone',
  ],
  ['$getField by the field', { $getField: { field: '$email', input: '$nested' } }, 'email'],
  ['$setField', { $setField: { field: 'email', input: '$$ROOT', value } }, 'email'],
  [
    '$setField, its result',
    { $let: { vars: { r: { $setField: { field: 'x', input: '$nested', value: '$one' } } }, in: '$$r.x.phone' } },
    'r.x.phone',
  ],
  [
    '$setField of what is computed',
    { $let: { vars: { r: { $setField: { field: '$name', input: {}, value: '$one' } } }, in: '$$r.x.phone' } },
    'r.x.phone',
  ],
  [
    '$objectToArray',
    { $filter: { input: { $objectToArray: '$$ROOT' }, cond: { $eq: ['$$this.v', value] } } },
    'this.v',
  ],
  [
    '$objectToArray and back',
    { $let: { vars: { r: { $arrayToObject: { $objectToArray: '$$ROOT' } } }, in: '$$r.email' } },
    'r.email',
  ],
  [
    '$arrayToObject',
    { $let: { vars: { r: { $arrayToObject: [[{ k: 'x', v: '$one' }]] } }, in: '$$r.x.phone' } },
    'r.x.phone',
  ],
  ['$mergeObjects', { $let: { vars: { r: { $mergeObjects: [{ a: 1 }, '$$ROOT'] } }, in: '$$r.email' } }, 'r.email'],
  ['an element', { $let: { vars: { r: { $arrayElemAt: ['$contacts', 0] } }, in: '$$r.phone' } }, 'r.phone'],
  ['$first of a list', { $let: { vars: { r: { $first: '$contacts' } }, in: '$$r.phone' } }, 'r.phone'],
  ['$sortArray', { $sortArray: { input: '$contacts', sortBy: { phone: 1 } } }, 'phone'],
  ['$top', { $top: { output: '$name', sortBy: { email: 1 } } }, 'email'],
  ['$topN, its output', { $topN: { output: '$email', sortBy: { name: 1 }, n: 2 } }, 'email'],
  ['$function', { $function: { body: 'function(r) { return r.email }', args: ['$$ROOT'], lang: 'js' } }, 'email'],
  ['$function, its arguments', { $function: { body: 'x => x', args: ['$email'], lang: 'js' } }, 'email'],
  [
    '$accumulator',
    { $accumulator: { init: '', accumulate: (_s: any, r: any) => r.phone, accumulateArgs: ['$one'] } },
    'phone',
  ],
  ['a comparison of a subdocument', { $eq: ['$one', { label: 'home', phone: value }] }, 'phone'],
  ['a comparison of a literal', { $ne: [{ $literal: { phone: value } }, '$one'] }, 'phone'],
  ['$in of subdocuments', { $in: [{ phone: value }, '$contacts'] }, 'phone'],
  ['a comparison with the whole record', { $eq: ['$$ROOT', { one: { phone: value } }] }, 'one.phone'],
  ['$setEquals', { $setEquals: ['$contacts', [{ phone: value }]] }, 'phone'],
  ['one operand without a list', { $eq: '$email' }, 'email'],
  ['a box', { $eq: ['$name', box()] }, 'the query'],
  ['a box in $literal', { $literal: [box()] }, 'the query'],
  ['a box on its own', box(), 'the query'],
]

test.each(refusals)('refused: %s', (_name, expression, path) => {
  expect(refusal(() => checkExpression(root, expression, place))).toContain(`: ${path}`)
})

test.each<[string, unknown]>([
  ['a path in the clear', { $toUpper: '$name' }],
  ['a path in the clear of elements', { $map: { input: '$contacts', as: 'c', in: '$$c.label' } }],
  ['names that are no paths', { $concat: ['email', value, 'phone'] }],
  ['$literal', { $literal: '$email' }],
  ['$const', { $const: { a: '$email' } }],
  ['$meta', { $meta: 'textScore' }],
  ['a whole subdocument', { $mergeObjects: ['$one', { label: 'x' }] }],
  ['the whole record', { user: '$$ROOT' }],
  ['how many', { $gt: [{ $size: '$contacts' }, 1] }],
  ['a subdocument that is there', { $ne: ['$one', null] }],
  ['a subdocument with what is in the clear', { $eq: ['$one', { label: 'home', phone: null }] }],
  ['$getField in the clear', { $getField: { field: 'name', input: '$$ROOT' } }],
  ['$getField of what is computed', { $getField: { field: '$name', input: '$tags' } }],
  ['$getField of wrapped keys', { $getField: 'encrypted_kms_key' }],
  ['wrapped keys', { $size: '$encrypted_kms_key.keyId' }],
  ['$setField', { $setField: { field: 'x', input: '$$ROOT', value: '$name' } }],
  ['a variable of the same name as a field', { $let: { vars: { email: '$name' }, in: '$$email' } }],
  [
    'a variable that replaces another',
    { $let: { vars: { r: '$one' }, in: { $let: { vars: { r: '$name' }, in: '$$r.phone' } } } },
  ],
  ['$reduce', { $reduce: { input: '$tags', initialValue: '', in: { $concat: ['$$value', '$$this'] } } }],
  ['keys of the record', { $map: { input: { $objectToArray: '$$ROOT' }, in: '$$this.k' } }],
  [
    'the record without a key',
    {
      $let: {
        vars: {
          r: { $arrayToObject: { $filter: { input: { $objectToArray: '$$ROOT' }, cond: { $ne: ['$$this.k', 'x'] } } } },
        },
        in: '$$r.name',
      },
    },
  ],
  ['code', { $function: { body: 'function(a) { return a.name }', args: ['$$ROOT'], lang: 'js' } }],
  ['$sortArray', { $sortArray: { input: '$contacts', sortBy: { label: 1 } } }],
  ['$top', { $top: { output: '$$ROOT', sortBy: { name: 1 } } }],
  ['variables of nobody', ['$$NOW', '$$REMOVE', '$$unknown.email', '$', '$$', '$.', '$$.']],
  ['operators of nobody', { $constructor: '$name', constructor: '$name', $toString: 1, toString: 2 }],
])('allowed: %s', (_name, expression) => {
  expect(checkExpression(root, expression, place)).toBeUndefined()
})

const operators =
  '$let $map $filter $reduce $switch $setField $objectToArray $arrayToObject $sortArray $top $function $eq $push $cond $literal'

test.each(operators.split(' '))('%s takes anything', (operator) => {
  for (const each of odd) {
    expect(checkExpression(root, { [operator]: each }, place)).toBeUndefined()
    const operands = {
      vars: each,
      in: each,
      input: each,
      as: each,
      cond: each,
      branches: [each],
      body: each,
      sortBy: each,
    }
    expect(checkExpression(root, { [operator]: operands }, place)).toBeUndefined()
    expect(checkExpression(root, { $getField: { field: 'name', input: each } }, place)).toBeUndefined()
    expect(checkExpression(root, { [operator]: { field: 'name', input: each, value: each } }, place)).toBeUndefined()
  }
})
