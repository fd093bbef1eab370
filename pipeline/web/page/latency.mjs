// Loaded models and their inputs → latencies in nanoseconds, as device_runner/latency.py takes
// them: in turn, in blocks, warmed up; only calls are timed. The host judges the numbers.

// An integer clock in nanoseconds; browsers make it coarse on purpose.
export const clockNs = () => Math.round(performance.now() * 1e6);

// What reading the clock costs, and the smallest step that it takes.
export function readTimer(clock = clockNs) {
  const differences = [];
  for (let index = 0; index < 1001; index += 1) {
    const start = clock();
    differences.push(clock() - start);
  }
  let resolution = Infinity;
  for (let step = 0; step < 20; step += 1) {
    const start = clock();
    let next = clock();
    while (next === start) next = clock();
    resolution = Math.min(resolution, next - start);
  }
  differences.sort((a, b) => a - b);
  return {timer_overhead_ns: differences[500], timer_resolution_ns: resolution};
}

class Turn {
  constructor(contestant, clock) {
    this.contestant = contestant;
    this.clock = clock;
    this.position = 0;
    this.usedNs = 0;
    this.result = {
      first_invoke_ns: 0,
      warmup_runs: 0,
      warmup_ns: 0,
      latencies_ns: [],
      measured_ns: 0,
      dropped_runs: 0,
      end_to_end_ns: [],
      tokenize_ns: [],
      end_to_end_invoke_ns: [],
      decode_ns: [],
      capped: [],
    };
  }

  async runOnce() {
    const {model, inputs} = this.contestant;
    model.setInput(inputs[this.position % inputs.length]);
    this.position += 1;
    const start = this.clock();
    await model.invoke();
    return this.clock() - start;
  }

  async runEndToEnd(keep) {
    const {model, texts, encode, decode} = this.contestant;
    const text = texts[this.position % texts.length];
    this.position += 1;
    const began = this.clock();
    const tokenIds = encode(text);
    const encoded = this.clock();
    model.setInput(tokenIds);
    const called = this.clock();
    await model.invoke();
    const returned = this.clock();
    const output = model.getOutput();
    const computed = this.clock();
    decode(output);
    const ended = this.clock();
    if (!keep) return;
    this.result.end_to_end_ns.push(ended - began);
    this.result.tokenize_ns.push(encoded - began);
    this.result.end_to_end_invoke_ns.push(returned - called);
    this.result.decode_ns.push(ended - computed);
  }

  async warmUp(profile) {
    const start = this.clock();
    const {result} = this;
    result.first_invoke_ns = await this.runOnce();
    while (result.warmup_runs < profile.warmup_runs || result.warmup_ns < profile.warmup_ns) {
      result.warmup_ns += await this.runOnce();
      result.warmup_runs += 1;
      if (this.clock() - start > profile.max_ns) {
        result.capped.push('warm-up');
        break;
      }
    }
    return true;
  }

  async measureBlock(profile) {
    const start = this.clock();
    const {result} = this;
    for (let run = 0; run < profile.block_runs; run += 1) {
      const latency = await this.runOnce();
      if (run < profile.dropped_runs_per_block) {
        result.dropped_runs += 1;
      } else {
        result.latencies_ns.push(latency);
        result.measured_ns += latency;
      }
      if (this.usedNs + this.clock() - start > profile.max_ns) {
        result.capped.push('measurement');
        return true;
      }
    }
    this.usedNs += this.clock() - start;
    return result.latencies_ns.length >= profile.num_runs && result.measured_ns >= profile.measure_ns;
  }

  async endToEndBlock(profile) {
    const start = this.clock();
    for (let run = 0; run < profile.block_runs; run += 1) {
      await this.runEndToEnd(run >= profile.dropped_runs_per_block);
      if (this.usedNs + this.clock() - start > profile.max_ns) {
        this.result.capped.push('end-to-end');
        return true;
      }
    }
    this.usedNs += this.clock() - start;
    return this.result.end_to_end_ns.length >= profile.end_to_end_runs;
  }
}

// Every turn has a block each round, another one first each time, until all are done.
async function inRounds(turns, block, afterBlock) {
  let pending = [...turns];
  for (let first = 0; pending.length > 0; first += 1) {
    first %= pending.length;
    const done = new Set();
    for (const turn of [...pending.slice(first), ...pending.slice(0, first)]) {
      if (await block(turn)) done.add(turn);
      await afterBlock();
    }
    pending = pending.filter((turn) => !done.has(turn));
  }
}

// contestants: {model, inputs, texts, encode, decode} each; profile: that of the host.
// progress: told the phase after every block; what it returns is waited for.
export async function measure(contestants, profile, clock = clockNs, progress = () => {}) {
  const turns = contestants.map((contestant) => new Turn(contestant, clock));
  await inRounds(turns, (turn) => turn.warmUp(profile), () => progress('warm-up'));
  await inRounds(turns, (turn) => turn.measureBlock(profile), () => progress('measuring'));
  for (const turn of turns) {
    turn.usedNs = 0;
    turn.position = 0;
  }
  if (profile.end_to_end_runs > 0) {
    await inRounds(turns, (turn) => turn.endToEndBlock(profile), () => progress('end to end'));
  }
  return turns.map((turn) => turn.result);
}
