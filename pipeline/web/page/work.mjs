// Loaded artifacts → what the host asked for: latencies, or the outputs of texts.

import {clockNs, measure, readTimer} from './latency.mjs';

// What is told of this browser with every result.
function describeBrowser() {
  return {
    user_agent: navigator.userAgent,
    num_cores: navigator.hardwareConcurrency ?? null,
    is_cross_origin_isolated: globalThis.crossOriginIsolated === true,
  };
}

function describeEngine(engine) {
  return {
    accelerator: engine.accelerator,
    num_threads: engine.numThreads,
    adapter: engine.adapter?.name ?? null,
    is_software_gpu: engine.adapter?.isSoftware ?? false,
  };
}

const pause = () => new Promise((resolve) => setTimeout(resolve));

// Measures loaded artifacts in turn. Inputs are the host's choice of texts; without any, the
// goldens'.
export async function bench(artifacts, engine, profile, progress) {
  let wasHidden = document.hidden;
  const notice = () => {
    wasHidden ||= document.hidden;
  };
  document.addEventListener('visibilitychange', notice);
  try {
    const contestants = artifacts.map((artifact) => {
      const given = artifact.texts.length > 0;
      const texts = given ? artifact.texts : artifact.golden.examples.map(({text}) => text);
      // With a tokenizer of their own: that of the end-to-end runs must not know the words yet.
      const other = artifact.tokenizer.fresh();
      const length = artifact.manifest.sequence_length;
      return {
        model: artifact.model,
        inputs: texts.map((text) => other.encodePadded(text, length)),
        texts,
        encode: (text) => artifact.encode(text),
        decode: (outputs) => artifact.decode(outputs),
      };
    });
    const measurements = await measure(contestants, profile, clockNs, async (phase) => {
      progress(phase);
      await pause();
    });
    return {
      ...describe(artifacts, engine),
      measurements,
      timer: readTimer(),
      was_hidden: wasHidden,
    };
  } finally {
    document.removeEventListener('visibilitychange', notice);
  }
}

function describe(artifacts, engine) {
  return {
    engine: describeEngine(engine),
    browser: describeBrowser(),
    init_ns: artifacts.map(({model}) => model.initNs),
    goldens: artifacts.map(({checked}) => checked),
  };
}

// Runs the first artifact on rows of token ids, or on its texts.
export async function run(artifacts, engine, rows, progress) {
  const [artifact] = artifacts;
  const tokenIds = rows ?? artifact.texts.map((text) => Array.from(artifact.encode(text)));
  const outputs = [];
  for (const [index, row] of tokenIds.entries()) {
    outputs.push(Array.from(await artifact.model.run(Int32Array.from(row))));
    if (index % 100 === 99) {
      progress(`text ${index + 1} of ${tokenIds.length}`);
      await pause();
    }
  }
  return {...describe(artifacts, engine), token_ids: tokenIds, outputs};
}

// Sends a result to the host; returns its answer.
export async function send(result) {
  const response = await fetch('results', {
    method: 'POST',
    headers: {'Content-Type': 'application/json'},
    body: JSON.stringify(result),
  });
  if (!response.ok) throw new Error(`The host refuses the result: ${await response.text()}`);
  return response.json();
}
