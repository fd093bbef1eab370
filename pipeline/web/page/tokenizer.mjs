// Tokenizer rules, vocabulary, character table → text to token ids, as device_runner/encode.py.
//
// A text is looked at code point by code point, as Python does. What is a space, an accent or
// punctuation comes from the table that the host serves; of the JavaScript engine only the
// canonical decomposition is used, which Unicode fixes for assigned code points.

const UNKNOWN_IDS = {word: 2, wordpiece: 1, char: 1};
const START_ID = 1;
const MAX_CACHED = 65536;
const MAX_CACHED_CHARS = 64;

// Code points in ranges such as "9-a 20", hexadecimal, both ends included.
export class CharacterSet {
  constructor(ranges) {
    const pairs = ranges.split(' ').map((part) => part.split('-').map((code) => parseInt(code, 16)));
    this.starts = pairs.map(([first]) => first);
    this.ends = pairs.map(([first, last]) => last ?? first);
  }

  has(code) {
    let low = 0;
    let high = this.starts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.starts[middle] <= code) low = middle + 1;
      else high = middle;
    }
    return low > 0 && code <= this.ends[low - 1];
  }
}

// Entries "first-last/step+difference" and "code=code,code".
function parseLower(entries) {
  const lower = new Map();
  for (const entry of entries.split(' ')) {
    const [code, several] = entry.split('=');
    if (several !== undefined) {
      const codes = several.split(',').map((part) => parseInt(part, 16));
      lower.set(parseInt(code, 16), String.fromCodePoint(...codes));
      continue;
    }
    const [ends, change] = entry.split('/');
    const [first, last] = ends.split('-').map((part) => parseInt(part, 16));
    const step = Number(change[0]);
    const difference = Number(change.slice(1));
    for (let upper = first; upper <= last; upper += step) {
      lower.set(upper, String.fromCodePoint(upper + difference));
    }
  }
  return lower;
}

// A function of one code point, remembered.
function remembered(rule) {
  const known = new Map();
  return (char) => {
    let value = known.get(char);
    if (value === undefined) {
      value = rule(char.codePointAt(0), char);
      if (known.size < MAX_CACHED) known.set(char, value);
    }
    return value;
  };
}

function translate(text, map) {
  let result = '';
  for (const char of text) result += map(char);
  return result;
}

// The text rules of device_runner/normalize.py.
export class Normalizer {
  constructor(table) {
    const sets = {};
    for (const [name, ranges] of Object.entries(table)) {
      if (name !== 'LOWER') sets[name] = new CharacterSet(ranges);
    }
    const lowers = parseLower(table.LOWER);
    const each = (text, rule) => translate(text, (char) => rule(char.codePointAt(0), char));
    const lower = (code, char) => lowers.get(code) ?? char;
    const clean = (code, char) => {
      if (sets.REMOVED.has(code)) return '';
      return sets.SPACES.has(code) ? ' ' : char;
    };
    const separateChinese = (code, char) =>
      sets.CHINESE.has(code) ? ` ${char} ` : clean(code, char);
    const separatePunctuation = (code, char) => (sets.PUNCTUATION.has(code) ? ` ${char} ` : char);
    this.lower = remembered(lower);
    this.clean = {
      false: remembered(clean),
      true: remembered((code, char) => each(clean(code, char), lower)),
    };
    this.chinese = {
      false: remembered(separateChinese),
      true: remembered((code, char) =>
        sets.COMBINING_MARKS.has(code) ? '' : separateChinese(code, char)),
    };
    this.punctuation = {
      false: remembered(separatePunctuation),
      true: remembered((code, char) =>
        sets.MARKS.has(code) ? '' : each(lower(code, char), separatePunctuation)),
    };
    this.ordered = remembered((code) => !sets.UNASSIGNED.has(code) && !sets.UNORDERED.has(code));
  }

  lowerText(text) {
    return translate(text, this.lower);
  }

  cleanText(text, lowercase) {
    return translate(text, this.clean[lowercase]).split(' ').filter(Boolean).join(' ');
  }

  // Decomposes each run of code points that have one canonical order.
  decompose(text) {
    let result = '';
    let run = '';
    for (const char of text) {
      if (this.ordered(char)) {
        run += char;
      } else {
        result += run.normalize('NFD') + char;
        run = '';
      }
    }
    return result + run.normalize('NFD');
  }

  splitWords(text, lowercase) {
    let separated = translate(text, this.chinese[lowercase]);
    if (lowercase) separated = this.decompose(separated);
    return translate(separated, this.punctuation[lowercase]).split(' ').filter(Boolean);
  }
}

// The lines of a file of tokens or labels; they end in "\n" alone.
export function parseLines(text) {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

export class Tokenizer {
  // spec: the manifest's `tokenizer`; vocabulary: tokens in id order; table: character classes.
  constructor(spec, vocabulary, table) {
    if (!Object.hasOwn(UNKNOWN_IDS, spec.kind)) {
      throw new Error(
        `tokenizer kind=${JSON.stringify(spec.kind)}, this page knows ` +
          `${Object.keys(UNKNOWN_IDS).join(', ')}. Serve it with the tfpipe that exported it.`,
      );
    }
    this.spec = spec;
    this.vocabulary = vocabulary;
    this.table = table;
    this.normalizer = new Normalizer(table);
    this.ids = new Map(vocabulary.map((token, id) => [token, id]));
    this.unknownId = UNKNOWN_IDS[spec.kind];
    this.continuingIds = new Map();
    this.maxPieceChars = 0;
    for (const [id, token] of vocabulary.entries()) {
      if (token.startsWith('##')) this.continuingIds.set(token.slice(2), id);
      this.maxPieceChars = Math.max(this.maxPieceChars, Array.from(token).length);
    }
    this.delimiter = spec.kind === 'word' ? new RegExp(spec.delimiter_pattern) : null;
    this.chunkCache = new Map();
    this.wordCache = new Map();
  }

  // The same tokenizer, which has met no word yet.
  fresh() {
    return new Tokenizer(this.spec, this.vocabulary, this.table);
  }

  // Int32Array (sequenceLength,): cut at the end, or padded there with 0.
  encodePadded(text, sequenceLength) {
    const padded = new Int32Array(sequenceLength);
    padded.set(this.encode(text, sequenceLength));
    return padded;
  }

  // At most maxTokens ids.
  encode(text, maxTokens = Infinity) {
    if (this.spec.kind === 'char') return this.encodeChars(text, maxTokens);
    const ids = this.spec.kind === 'word' ? [START_ID] : [];
    for (const chunk of this.splitChunks(text)) {
      let found = this.chunkCache.get(chunk);
      if (found === undefined) {
        found = this.encodeChunk(chunk);
        remember(this.chunkCache, chunk, found);
      }
      for (const id of found) ids.push(id);
      if (ids.length >= maxTokens) return ids.slice(0, maxTokens);
    }
    return ids;
  }

  encodeChars(text, maxTokens) {
    const {lowercase} = this.spec;
    // The start is enough, unless most of it is removed. A code point has at most two code units;
    // half a pair at the end is removed with the other surrogates.
    const start = text.slice(0, 4 * maxTokens + 128);
    let clean = Array.from(this.normalizer.cleanText(start, lowercase));
    if (clean.length <= maxTokens && start.length < text.length) {
      clean = Array.from(this.normalizer.cleanText(text, lowercase));
    }
    return clean.slice(0, maxTokens).map((char) => this.ids.get(char) ?? this.unknownId);
  }

  // Splits where no token reaches across, so that a long text need not be read to its end.
  splitChunks(text) {
    if (this.delimiter && ' \n'.split(this.delimiter).some(Boolean)) return [text];
    return text.replaceAll('\n', ' ').split(' ');
  }

  splitText(chunk) {
    const {kind, lowercase} = this.spec;
    if (kind === 'wordpiece') return this.normalizer.splitWords(chunk, lowercase);
    const text = lowercase ? this.normalizer.lowerText(chunk) : chunk;
    return text.split(this.delimiter).filter(Boolean);
  }

  encodeChunk(chunk) {
    const ids = [];
    for (const word of this.splitText(chunk)) {
      if (this.spec.kind === 'word') {
        ids.push(this.ids.get(word) ?? this.unknownId);
        continue;
      }
      let found = this.wordCache.get(word);
      if (found === undefined) {
        found = this.encodeWord(Array.from(word));
        remember(this.wordCache, word, found);
      }
      for (const id of found) ids.push(id);
    }
    return ids;
  }

  // Takes the longest piece that the vocabulary has, again and again; else all is unknown.
  encodeWord(chars) {
    if (chars.length > this.spec.max_chars_per_word) return [this.unknownId];
    const ids = [];
    let pieces = this.ids;
    let start = 0;
    while (start < chars.length) {
      let end = Math.min(chars.length, start + this.maxPieceChars);
      let id;
      for (; end > start; end -= 1) {
        id = pieces.get(chars.slice(start, end).join(''));
        if (id !== undefined) break;
      }
      if (id === undefined) return [this.unknownId];
      ids.push(id);
      start = end;
      pieces = this.continuingIds;
    }
    return ids;
  }
}

function remember(cache, key, ids) {
  if (key.length > MAX_CACHED_CHARS) return;
  if (cache.size >= MAX_CACHED) cache.clear();
  cache.set(key, ids);
}
