// A folder of the server → an artifact whose goldens this browser has been held to.

import {reasonOf} from './engine.mjs';
import {Tokenizer, parseLines} from './tokenizer.mjs';

async function fetchBytes(path) {
  const response = await fetch(path, {cache: 'no-store'});
  if (!response.ok) throw new Error(`${path}: the host answers ${response.status}.`);
  return new Uint8Array(await response.arrayBuffer());
}

async function fetchText(path) {
  // A byte order mark is a character here, as it is in Python.
  return new TextDecoder('utf-8', {fatal: true, ignoreBOM: true}).decode(await fetchBytes(path));
}

export async function fetchJson(path) {
  return JSON.parse(await fetchText(path));
}

export class Artifact {
  static async fetch(folder, table) {
    const manifest = await fetchJson(`${folder}/manifest.json`);
    const [vocabulary, labels, golden, texts, bytes] = await Promise.all([
      fetchText(`${folder}/vocabulary.txt`),
      fetchText(`${folder}/labels.txt`),
      fetchJson(`${folder}/golden.json`),
      fetchJson(`${folder}/texts.json`),
      fetchBytes(`${folder}/${manifest.model_file}`),
    ]);
    const tokenizer = new Tokenizer(manifest.tokenizer, parseLines(vocabulary), table);
    return new Artifact({manifest, tokenizer, golden, texts, bytes, labels: parseLines(labels)});
  }

  constructor({manifest, tokenizer, golden, texts, bytes, labels}) {
    this.manifest = manifest;
    this.tokenizer = tokenizer;
    this.golden = golden;
    this.texts = texts;
    this.bytes = bytes;
    this.labels = labels;
    this.model = null;
  }

  encode(text) {
    return this.tokenizer.encodePadded(text, this.manifest.sequence_length);
  }

  // Labels with their scores, the largest first; `predicted`: those that the model says.
  decode(outputs) {
    const ranked = this.labels
      .map((label, index) => ({label, score: outputs[index]}))
      .sort((a, b) => b.score - a.score);
    const {threshold} = this.manifest;
    const predicted =
      threshold === null ? ranked.slice(0, 1) : ranked.filter(({score}) => score >= threshold);
    return {ranked, predicted};
  }

  // Compiles the model for an engine and compares ids and outputs with what the host wrote down.
  // Throws where they differ.
  async load(engine, clock, gpuTolerance) {
    const {manifest, golden} = this;
    try {
      this.model = await engine.compile(this.bytes, clock);
    } catch (error) {
      throw new Error(`${manifest.name} does not load here: ${reasonOf(error)}`);
    }
    const atol =
      engine.accelerator === 'webgpu' ? Math.max(golden.atol, gpuTolerance) : golden.atol;
    let maxError = 0;
    for (const [position, example] of golden.examples.entries()) {
      const tokenIds = this.encode(example.text);
      if (!example.token_ids.every((id, index) => id === tokenIds[index])) {
        throw new Error(
          `${manifest.name} is refused: golden ${position}: this browser's token ids differ from ` +
            'the host\'s.',
        );
      }
      const outputs = await this.model.run(tokenIds);
      const errors = example.outputs.map((value, index) => Math.abs(value - outputs[index]));
      const error = Math.max(...errors);
      if (!(error <= atol) || outputs.length !== errors.length) {
        throw new Error(
          `${manifest.name} is refused: golden ${position}: outputs differ by up to ` +
            `${error.toPrecision(3)}, allowed are ${atol}.`,
        );
      }
      maxError = Math.max(maxError, error);
    }
    return {num_examples: golden.examples.length, max_abs_error: maxError, atol};
  }
}
