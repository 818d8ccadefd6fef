import { jsonFile, type ModelFile } from './model-file.ts'

/** Ids 0-255 are the byte values themselves; the specials follow. */
export const BOS_ID = 256
export const EOS_ID = 257
export const PAD_ID = 258
export const VOCABULARY_SIZE = 259

const SPECIALS = [
  { id: BOS_ID, content: '<|bos|>' },
  { id: EOS_ID, content: '<|eos|>' },
  { id: PAD_ID, content: '<|pad|>' },
] as const

/**
 * The token ids of `text`: its UTF-8 bytes, without special tokens (so every id fits a byte).
 * A lone surrogate has no UTF-8 form and becomes U+FFFD, as everywhere in the web platform.
 */
export function encodeText(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

/**
 * The printable character that stands for each byte in a byte-level vocabulary, indexed by byte.
 * Source: GPT-2's bytes_to_unicode: printable Latin-1 stands for itself, the rest is counted up from U+0100.
 */
function byteCharacters(): readonly string[] {
  let next = 0x100
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPrintable(byte) ? byte : next++))
}

function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff)
}

/**
 * The files from which `transformers` loads this tokenizer: a BPE without merges over the 256
 * bytes, so that ids equal UTF-8 bytes. No special token is added by itself: plans decide.
 */
export function tokenizerFiles(): ModelFile[] {
  return [
    jsonFile('tokenizer.json', tokenizerJson()),
    jsonFile('tokenizer_config.json', tokenizerConfig()),
    jsonFile('special_tokens_map.json', specialTokens()),
    jsonFile('generation_config.json', {
      bos_token_id: BOS_ID,
      eos_token_id: EOS_ID,
      pad_token_id: PAD_ID,
      do_sample: false,
    }),
  ]
}

function tokenizerJson() {
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIALS.map(({ id, content }) => ({ id, ...addedToken(content) })),
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(byteCharacters().map((character, byte) => [character, byte])),
      merges: [],
    },
  }
}

function addedToken(content: string) {
  return { content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
}

function specialTokens() {
  const [bos, eos, pad] = SPECIALS
  return { bos_token: bos.content, eos_token: eos.content, pad_token: pad.content }
}

function tokenizerConfig() {
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    ...specialTokens(),
    added_tokens_decoder: Object.fromEntries(SPECIALS.map(({ id, content }) => [id, addedToken(content)])),
    clean_up_tokenization_spaces: false,
    // Text that spells a special token is text: without this, anyone's document could end a sequence.
    split_special_tokens: true,
    model_input_names: ['input_ids', 'attention_mask'],
  }
}
