// The page: what the host serves → predictions while a person types, and measurements; or, where
// the host waits for a job, that job.

import {Artifact, fetchJson} from './artifact.mjs';
import {Engine, findAdapter, hasThreads, reasonOf} from './engine.mjs';
import {clockNs} from './latency.mjs';
import {bench, run, send} from './work.mjs';

const SHOWN_LABELS = 6;
const SHOWN_TOKENS = 256;
const element = (id) => document.getElementById(id);

function make(tag, text, className = '') {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

function showError(error) {
  element('error').textContent = reasonOf(error);
  element('error').hidden = false;
  element('status').hidden = true;
}

function formatNs(value) {
  if (value === null || value === undefined) return '–';
  if (value >= 1e9) return `${(value / 1e9).toFixed(2)} s`;
  return value >= 1e6 ? `${(value / 1e6).toFixed(2)} ms` : `${(value / 1e3).toFixed(1)} µs`;
}

const formatBytes = (bytes) =>
  bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.ceil(bytes / 1e3)} kB`;

async function openArtifacts(page) {
  const table = await fetchJson('characters.json');
  return Promise.all(page.artifacts.map((folder) => Artifact.fetch(folder, table)));
}

async function loadAll(artifacts, engine, gpuTolerance) {
  for (const artifact of artifacts) {
    artifact.checked = await artifact.load(engine, clockNs, gpuTolerance);
  }
}

async function doJob(page, job) {
  const progress = (phase) => {
    element('status').textContent = `Working for the host: ${phase}`;
  };
  try {
    const artifacts = await openArtifacts(page);
    const engine = await Engine.open(job.accelerator, job.num_threads);
    await loadAll(artifacts, engine, page.gpu_tolerance);
    const result =
      job.command === 'bench'
        ? await bench(artifacts, engine, job.profile, progress)
        : await run(artifacts, engine, job.token_ids, progress);
    await send(result);
    element('status').textContent = 'Done. This page may be closed.';
  } catch (error) {
    showError(error);
    await send({error: reasonOf(error)});
  }
}

class Workbench {
  constructor(page, artifacts) {
    this.page = page;
    this.artifacts = artifacts;
    this.engine = null;
    this.isBusy = false;
    this.isStale = false;
  }

  get artifact() {
    return this.artifacts[element('artifact').selectedIndex];
  }

  async fillChoices() {
    for (const {manifest} of this.artifacts) element('artifact').append(new Option(manifest.name));
    element('artifact-field').hidden = this.artifacts.length < 2;
    const most = (await hasThreads()) ? Math.min(navigator.hardwareConcurrency ?? 1, 16) : 1;
    for (let count = 1; count <= most; count *= 2) element('threads').append(new Option(count));
    for (const name of Object.keys(this.page.profiles)) element('profile').append(new Option(name));
    element('measure-text').textContent =
      'Times single calls on real texts, warmed up, as tfpipe bench does. ' +
      (this.page.stores ? 'The host keeps the result.' : 'The host keeps nothing.');
    try {
      const {name, isSoftware} = await findAdapter();
      const option = element('accelerator').options[1];
      option.textContent = `WebGPU (${name}${isSoftware ? ', software' : ''})`;
    } catch (error) {
      element('accelerator').options[1].disabled = true;
      element('accelerator').options[1].textContent = 'WebGPU (not here)';
      element('accelerator').title = reasonOf(error);
      this.webgpuReason = reasonOf(error);
    }
  }

  listen() {
    for (const id of ['artifact', 'accelerator', 'threads']) {
      element(id).addEventListener('change', () => this.reload());
    }
    element('text').addEventListener('input', () => this.predict());
    element('measure').addEventListener('click', () => this.measure());
  }

  setEnabled(isEnabled) {
    for (const id of ['artifact', 'accelerator', 'threads', 'profile', 'measure', 'text']) {
      element(id).disabled = !isEnabled;
    }
  }

  // Opens the chosen accelerator and checks the chosen artifact on it; refuses it where that fails.
  async reload() {
    const accelerator = element('accelerator').value;
    this.setEnabled(false);
    element('error').hidden = true;
    element('status').hidden = false;
    element('status').textContent = `Loading on ${accelerator} …`;
    element('predictions').replaceChildren();
    element('results').replaceChildren();
    element('threads-field').hidden = accelerator !== 'wasm';
    this.engine = null;
    this.describeArtifact();
    try {
      const engine = await Engine.open(accelerator, Number(element('threads').value));
      await loadAll([this.artifact], engine, this.page.gpu_tolerance);
      this.engine = engine;
      const {num_examples: count, max_abs_error: maxError} = this.artifact.checked;
      element('status').textContent =
        `Checked: this browser tokenizes and computes as the host does (${count} goldens, ` +
        `largest difference ${maxError.toExponential(0)}).` +
        (this.webgpuReason ? ` ${this.webgpuReason}` : '');
    } catch (error) {
      showError(error);
    }
    this.setEnabled(true);
    const isUsable = this.engine !== null;
    element('text').disabled = !isUsable;
    element('measure').disabled = !isUsable;
    await this.predict();
  }

  describeArtifact() {
    const {manifest, labels, bytes} = this.artifact;
    element('name').textContent = manifest.name;
    document.title = `${manifest.name} – tfpipe`;
    const size = formatBytes(bytes.length);
    element('facts').textContent =
      `${manifest.model}, ${manifest.scheme}, ${labels.length} labels, ${size}`;
  }

  // Predicts what is in the field; what is typed meanwhile is predicted next.
  async predict() {
    this.isStale = true;
    if (this.isBusy) return;
    this.isBusy = true;
    try {
      while (this.isStale && this.engine) {
        this.isStale = false;
        await this.predictOnce(element('text').value);
      }
    } catch (error) {
      showError(error);
    } finally {
      this.isBusy = false;
    }
  }

  async predictOnce(text) {
    if (text === '') {
      for (const id of ['predictions', 'timing', 'tokens']) element(id).replaceChildren();
      return;
    }
    const {artifact} = this;
    const start = clockNs();
    const tokenIds = artifact.encode(text);
    const encoded = clockNs();
    const outputs = await artifact.model.run(tokenIds);
    const computed = clockNs();
    const {ranked, predicted} = artifact.decode(outputs);
    const shown = ranked.slice(0, Math.max(SHOWN_LABELS, predicted.length));
    element('predictions').replaceChildren(
      ...shown.map((entry) => {
        const item = make('li', '', predicted.includes(entry) ? 'said' : '');
        item.style.setProperty('--score', entry.score);
        item.append(make('span', entry.label), make('span', entry.score.toFixed(3), 'score'));
        return item;
      }),
    );
    element('timing').textContent =
      `tokens ${formatNs(encoded - start)}, model ${formatNs(computed - encoded)}`;
    const used = Array.from(tokenIds.slice(0, 1 + tokenIds.findLastIndex(Boolean)));
    element('token-count').textContent =
      `Tokens: ${used.length} of at most ${artifact.manifest.sequence_length}`;
    element('tokens').replaceChildren(
      ...used.slice(0, SHOWN_TOKENS).map((id) => {
        const item = make('li', artifact.tokenizer.vocabulary[id]);
        item.append(make('span', id));
        return item;
      }),
    );
  }

  async measure() {
    this.setEnabled(false);
    this.isBusy = true;
    const profile = this.page.profiles[element('profile').value];
    const start = clockNs();
    const progress = (phase) => {
      const seconds = Math.round((clockNs() - start) / 1e9);
      element('progress').textContent = `Measuring: ${phase}, ${seconds} s`;
    };
    try {
      progress('warm-up');
      const measured = await bench([this.artifact], this.engine, profile, progress);
      measured.artifacts = [element('artifact').selectedIndex];
      measured.profile = element('profile').value;
      const {results} = await send(measured);
      element('results').prepend(...results.map(showResult));
      element('progress').textContent = '';
    } catch (error) {
      element('progress').textContent = reasonOf(error);
    }
    this.isBusy = false;
    this.setEnabled(true);
  }
}

function showResult(result) {
  const card = make('div', '', 'result');
  const threads = `${result.num_threads} thread${result.num_threads === 1 ? '' : 's'}`;
  const where = result.delegate === 'wasm' ? `wasm, ${threads}` : `WebGPU, ${result.adapter}`;
  card.append(make('h3', `${where}, profile ${result.profile}: ${result.validity}`));
  const list = make('dl', '');
  const figures = {
    'call, p50': formatNs(result.p50_ns),
    p90: formatNs(result.p90_ns),
    p99: formatNs(result.p99_ns),
    'text to label, p50': formatNs(result.end_to_end_p50_ns),
    'first call': formatNs(result.first_invoke_ns),
    'model load': formatNs(result.init_ns),
    calls: result.num_runs.toLocaleString('en'),
  };
  for (const [name, value] of Object.entries(figures)) {
    const pair = make('div', '');
    pair.append(make('dt', name), make('dd', value));
    list.append(pair);
  }
  card.append(list);
  if (result.validity_reasons.length > 0) {
    const reasons = make('ul', '');
    reasons.append(...result.validity_reasons.map((reason) => make('li', reason)));
    card.append(reasons);
  }
  return card;
}

async function start() {
  element('plain-http').hidden = globalThis.isSecureContext;
  const page = await fetchJson('page.json');
  element('footer').textContent = `tfpipe ${page.version}, ${page.runtime} ${page.runtime_version}`;
  if (page.job) {
    await doJob(page, page.job);
    return;
  }
  const workbench = new Workbench(page, await openArtifacts(page));
  await workbench.fillChoices();
  workbench.listen();
  element('main').hidden = false;
  await workbench.reload();
}

start().catch(showError);
