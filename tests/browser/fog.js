'use strict';
/* Real nodes, front-ends and browsers for the tests of the page. All are stopped by stopAll. */

const {spawn, execFileSync} = require('child_process');
const {chromium} = require('playwright-core');

const START_MS = 20000, WAIT_MS = 10000, POLL_MS = 20;
const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];

const running = new Set();
let browser = null;

const after = ms => new Promise(done => setTimeout(done, ms));

/* Waits until `test` gives something true, and gives that. */
async function until(test, what, ms = WAIT_MS) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await test();
    if (value) return value;
    if (Date.now() > end) throw new Error(`in ${ms} ms it did not come about that ${what}`);
    await after(POLL_MS);
  }
}

class Server {
  constructor(options) {
    const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^VELOUR_FOG_/.test(name)));
    this.log = '';
    this.process = spawn(process.env.VELOUR_FOG, [options[0], '--listen', '127.0.0.1:0', ...options.slice(1)],
      {env: environment, stdio: ['ignore', 'ignore', 'pipe']});
    this.process.stderr.setEncoding('utf8').on('data', text => { this.log += text; });
    this.process.on('exit', () => running.delete(this));
    running.add(this);
  }

  async start() {
    const found = await until(() => this.log.match(/event=listening .*\baddress=(\S+)/), 'it listens', START_MS);
    this.address = found[1];
    this.url = `http://${this.address}/`;
    await until(async () => (await this.fetch('-/ready')).status === 200, 'it is ready', START_MS);
    return this;
  }

  fetch(path, options) {
    return fetch(this.url + path, options);
  }

  async status() {
    return (await this.fetch('-/status')).json();
  }

  signal(name) {
    this.process.kill(name);
  }
}

const startNode = (...options) => new Server(['node', ...options]).start();

/* Nodes that know each other. */
async function startCluster(count, ...options) {
  const nodes = [await startNode(...options)];
  while (nodes.length < count) nodes.push(await startNode('--join', nodes[0].address, ...options));
  for (const node of nodes)
    await until(async () => {
      const members = Object.values((await node.status()).cluster.members);
      return members.length === count && members.every(phase => phase === 'ready');
    }, 'all members are ready');
  return nodes;
}

async function startFrontend(clusters) {
  const frontend = await new Server(['frontend', ...clusters.flatMap(nodes => ['--cluster', nodes.map(n => n.address).join(',')])]).start();
  await until(async () => (await frontend.status()).partitions.every((p, i) => p.node_counts.ready === clusters[i].length),
    'it reaches all nodes');
  return frontend;
}

/* A page that notes what goes wrong in it, and whom it asks. */
async function openPage(url, options = {}) {
  browser ??= await chromium.launch({executablePath: '/usr/bin/chromium', args: ARGUMENTS});
  const context = await browser.newContext({viewport: {width: 1280, height: 900}, ...options});
  const page = await context.newPage();
  page.troubles = [];
  page.asked = [];
  page.on('console', message => ['error', 'warning'].includes(message.type()) && page.troubles.push(message.text()));
  page.on('pageerror', error => page.troubles.push(error.stack));
  page.on('dialog', dialog => {
    page.troubles.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  context.on('request', request => page.asked.push(request.url()));
  page.setDefaultTimeout(WAIT_MS);
  await page.goto(url);
  return page;
}

async function stopAll() {
  await browser?.close();
  const ended = [...running].map(server => new Promise(done => server.process.once('exit', done)));
  for (const server of running) server.signal('SIGKILL');
  await Promise.all(ended);
}

const curl = (...options) => execFileSync('curl', ['-sS', '--noproxy', '*', ...options], {encoding: 'utf8'});

module.exports = {after, curl, openPage, startCluster, startFrontend, startNode, stopAll, until};
