// Accelerator and threads → LiteRT, loaded; a model's bytes → the model, ready to be called.

import {Tensor, loadAndCompile, loadLiteRt, supportsFeature, unloadLiteRt} from '@litertjs/core';

const WASM_FOLDER = new URL('packages/@litertjs/core/wasm/', document.baseURI).href;
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|basic render/i;
const TYPES = ['float32', 'int32'];

// What went wrong, whatever was thrown: WebAssembly throws numbers too.
export function reasonOf(error) {
  return String(error?.message ?? error);
}

// Whether more than one thread can be asked for.
export async function hasThreads() {
  return globalThis.crossOriginIsolated === true && (await supportsFeature('threads'));
}

// The WebGPU adapter as {name, isSoftware}; throws with the reason why there is none.
export async function findAdapter() {
  if (!globalThis.isSecureContext) {
    throw new Error(
      'WebGPU needs https or localhost, and this page came over plain http. Use wasm, or reach ' +
        'the page as localhost: for a phone on a cable, adb reverse does that.',
    );
  }
  if (!navigator.gpu) {
    throw new Error('This browser has no WebGPU. Use wasm, or a newer browser.');
  }
  const adapter = await navigator.gpu.requestAdapter({powerPreference: 'high-performance'});
  if (!adapter) {
    throw new Error(
      'No WebGPU adapter: the browser has WebGPU, but no GPU that it may use for it. Use wasm, or ' +
        'enable the GPU in the browser.',
    );
  }
  const {vendor, architecture, device, description, isFallbackAdapter} = adapter.info;
  const name = [...new Set([vendor, architecture, device, description])].filter(Boolean).join(' ');
  return {name: name || 'unnamed', isSoftware: isFallbackAdapter === true || SOFTWARE.test(name)};
}

// One accelerator at a time; opening another one closes this one and its models.
export class Engine {
  static async open(accelerator, numThreads) {
    const adapter = accelerator === 'webgpu' ? await findAdapter() : null;
    const threads = accelerator === 'wasm' && numThreads > 1;
    if (threads && !(await hasThreads())) {
      throw new Error(
        `num_threads=${numThreads}, but this page is not cross-origin isolated: the browser ` +
          'allows one thread. Use 1, or reach the page as localhost.',
      );
    }
    // Lets the wasm part wait for the GPU; without it, the GPU's part is called all the same.
    const jspi = accelerator === 'webgpu' && (await supportsFeature('jspi'));
    unloadLiteRt();
    await loadLiteRt(WASM_FOLDER, {threads, jspi});
    return new Engine(accelerator, threads ? numThreads : 1, adapter);
  }

  constructor(accelerator, numThreads, adapter) {
    this.accelerator = accelerator;
    this.numThreads = numThreads;
    this.adapter = adapter;
  }

  // Compiles a model's bytes; throws where one op of it would run elsewhere.
  async compile(bytes, clock) {
    const start = clock();
    const model = await loadAndCompile(bytes, {
      accelerator: this.accelerator,
      cpuOptions: {numThreads: this.numThreads},
      gpuOptions: {precision: 'fp32'},
    });
    const initNs = clock() - start;
    const whole = this.accelerator !== 'webgpu' || model.isFullyAccelerated;
    if (model.options.accelerator !== this.accelerator || !whole) {
      model.delete();
      throw new Error(
        'WebGPU does not take the whole model. Use wasm, or export it again with --target web ' +
          '--scheme float32 or float16.',
      );
    }
    const tensors = [...model.getInputDetails(), ...model.getOutputDetails()];
    const other = tensors.find(({dtype}) => !TYPES.includes(dtype));
    if (other) {
      model.delete();
      throw new Error(
        `${other.name} is ${other.dtype}; the browser takes int32 in and float32 out. Export with ` +
          'float input and output: --target web.',
      );
    }
    return new Model(model, this.accelerator, initNs);
  }
}

// A model with one int32 input (1, T) and one float32 output (1, C).
export class Model {
  constructor(model, accelerator, initNs) {
    this.model = model;
    this.accelerator = accelerator;
    this.initNs = initNs;
    this.input = null;
    this.result = null;
    this.values = null;
  }

  setInput(tokenIds) {
    this.input?.delete();
    this.result?.delete();
    this.result = null;
    this.input = new Tensor(tokenIds, [1, tokenIds.length]);
  }

  // On a GPU, until the output has been read: before, the work has only been ordered.
  async invoke() {
    [this.result] = await this.model.run([this.input]);
    this.values = this.accelerator === 'webgpu' ? await this.result.data() : null;
  }

  getOutput() {
    return this.values ?? this.result.toTypedArray();
  }

  async run(tokenIds) {
    this.setInput(tokenIds);
    await this.invoke();
    return this.getOutput();
  }
}
