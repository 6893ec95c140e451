// BullMQ: `node bullmq.mjs worker`, or `node bullmq.mjs producer`, which speaks the protocol of benchmarks/producer.py.
import { createRequire } from "node:module";
import { openSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";

const require = createRequire(process.env.BENCH_BULLMQ + "/package.json");
const { Queue, Worker } = require("bullmq");
const connection = { path: process.env.BENCH_REDIS_SOCKET, maxRetriesPerRequest: null };

function mark(file, number) {
  const line = Buffer.alloc(16);
  line.writeBigInt64LE(BigInt(number), 0);
  line.writeBigInt64LE(process.hrtime.bigint(), 8); // CLOCK_MONOTONIC, as in Python
  writeSync(file, line);
}

if (process.argv[2] === "worker") {
  const file = openSync(process.env.BENCH_EFFECTS, "a");
  const worker = new Worker("bench", async (job) => mark(file, job.data.number), { connection, concurrency: 8 });
  process.on("SIGTERM", () => worker.close().then(() => process.exit(0)));
} else {
  const queue = new Queue("bench", { connection, defaultJobOptions: { removeOnComplete: true } });
  for await (const line of createInterface({ input: process.stdin })) {
    const { first, count } = JSON.parse(line);
    const began = process.hrtime.bigint();
    const seconds = [];
    for (let number = first; number < first + count; number++) {
      const before = process.hrtime.bigint();
      await queue.add("noop", { number });
      seconds.push(Number(process.hrtime.bigint() - before) / 1e9);
    }
    console.log(JSON.stringify({ began: Number(began), ended: Number(process.hrtime.bigint()), seconds }));
  }
  process.exit(0);
}
