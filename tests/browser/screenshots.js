'use strict';
/* Takes docs/page-*.png: a front-end with two partitions, and one of its nodes, after some minutes of load, with a node that is down. */

const {after, openPage, startCluster, startFrontend, stopAll, until} = require('./fog.js');

const LOAD_MS = Number(process.env.LOAD_SECONDS ?? 310) * 1000;
const KEYS = 4000, WRITES = 0.3, WORKERS = 4;

/* Requests in waves, as people make them. */
async function load(server, end) {
  while (Date.now() < end) {
    const key = `user/${Math.floor(Math.random() ** 2 * KEYS)}`, wave = 1 + Math.sin(Date.now() / 23000) * Math.sin(Date.now() / 7000);
    const options = Math.random() < WRITES ? {method: 'PUT', body: 'x'.repeat(Math.random() * 3000)} : {};
    await (await server.fetch(key, options)).arrayBuffer();
    if (Math.random() < 0.02) await server.fetch(key, {method: 'DELETE'});
    await after(6 + 25 * wave * Math.random());
  }
}

async function shoot(server, name, options, prepare = async () => {}) {
  const page = await openPage(server.url, options);
  await page.waitForSelector('.line');
  await page.mouse.move(0, 0);
  await prepare(page);
  await page.evaluate(() => document.activeElement.blur());
  await page.screenshot({path: `docs/page-${name}.png`, fullPage: true});
  await page.context().close();
}

async function getAndList(page) {
  await page.locator('#key').fill('greeting');
  await page.getByRole('button', {name: 'Get'}).click();
  await page.locator('#body', {hasText: 'hello'}).waitFor();
  await page.locator('#prefix').fill('user/1');
  await page.getByRole('button', {name: 'List'}).click();
  await page.locator('#found li').first().waitFor();
}

async function main() {
  const clusters = [await startCluster(3, '--partition', '0/2'), await startCluster(3, '--partition', '1/2')];
  const frontend = await startFrontend(clusters), end = Date.now() + LOAD_MS;
  const loads = Array.from({length: WORKERS}, () => load(frontend, end + 20000));
  await frontend.fetch('greeting', {method: 'PUT', body: 'hello, fog', headers: {'Content-Type': 'text/plain', 'Fog-TTL': '86400'}});
  const holder = (await Promise.all(clusters.map(async nodes => (await nodes[0].fetch('greeting')).status === 200 && nodes[0]))).find(Boolean);
  await until(() => Date.now() > end, 'the load has lasted', LOAD_MS + 1000);
  clusters[1][1].signal('SIGKILL');
  await until(async () => (await frontend.status()).partitions[1].node_counts.down === 1, 'it is seen to be down');
  await shoot(frontend, 'frontend', {colorScheme: 'light'});
  await shoot(holder, 'node', {colorScheme: 'dark'}, getAndList);
  await shoot(frontend, 'narrow', {colorScheme: 'light', viewport: {width: 390, height: 800}});
  await Promise.all(loads);
}

main().finally(stopAll);
