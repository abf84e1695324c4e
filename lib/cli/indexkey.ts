import { Option } from 'commander'
import { createIndexKey } from '../search/indexkey'
import type { Command } from './command'

export const indexKey: Command = {
  name: 'index-key',
  summary: 'make the key of blind indexes',
  description:
    'Makes the key of blind indexes, wrapped by AWS KMS, and prints the text that is the option indexKey: createIndexKey(). One call to KMS. Make one ' +
    'for all processes, and keep it with the configuration; it is no secret.',
  options: [
    new Option('-k, --key-id <key>', 'the KMS key that wraps it: key id, ARN or alias').makeOptionMandatory(),
    new Option(
      '-n, --name <name>',
      'its name in the encryption context, which tells the keys of deployments apart',
    ).default('default'),
    new Option('--json', 'a line of JSON'),
  ],
  async run({ keyId, name, json }: { keyId: string; name: string; json?: true }, { output }) {
    const made = await createIndexKey({ keyId, name })
    // As text in a pipe as well: INDEX_KEY=$(…).
    if (json) output.line({ type: 'index-key', indexKey: made })
    else output.raw(made)
    output.message('Give this as indexKey to the plugin in every process, most often by an environment variable.')
    return 'done'
  },
}
