// A small client of the HTTP API, in the order of a visit: key, live connection, uploads, documents, search.

const BASE = location.pathname.replace(/\/demo\/?$/, '');
const NEWEST = 50; // documents that are loaded; live events bring the others as they move
const EXCERPT = 240; // characters of a passage that are shown at first
const CLIENT_ID = `demo-${crypto.getRandomValues(new Uint32Array(2)).join('-')}`;

const find = (id) => document.getElementById(id);
const plural = (count, word) => `${count.toLocaleString('en')} ${word}${count === 1 ? '' : 's'}`;

/** Make an element; `content` is text or children, never markup. */
function make(tag, attributes = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...content);
  return element;
}

// ---- The API -------------------------------------------------------------------------------------------------------

let key = '';

/** An answer of the API that is an error; its message is the sentence that the API wrote for people. */
class Problem extends Error {
  constructor(status, body) {
    super(body?.detail ?? `The server answered ${status}.`);
    this.status = status;
  }
}

async function call(method, path, body) {
  const response = await fetch(BASE + path, {
    method,
    headers: { Authorization: `Bearer ${key}`, ...(body && { 'Content-Type': 'application/json' }) },
    body: body && JSON.stringify(body),
  });
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Problem(response.status, answer);
  return answer;
}

function tell(sentence) {
  find('notice').textContent = sentence;
  find('notice').hidden = !sentence;
}

// ---- The live connection -------------------------------------------------------------------------------------------

const live = { socket: null, place: null, failures: 0, timer: 0 };

function show(state, text) {
  find('connection').dataset.state = state;
  find('connection-text').textContent = text;
}

/** Connect with a fresh ticket and go on after the last event that was seen. */
async function connect() {
  if (!key) return;
  show('waiting', 'Connecting …');
  let ticket;
  try {
    ({ ticket } = await call('POST', '/live/tickets'));
  } catch (error) {
    if (error.status === 401 || error.status === 403) return lock(error.message);
    return connectLater();
  }
  if (!key) return;
  const query = new URLSearchParams({ ticket, client_id: CLIENT_ID });
  if (live.place !== null) query.set('since', live.place);
  const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
  const socket = new WebSocket(`${scheme}//${location.host}${BASE}/ws/documents?${query}`);
  live.socket = socket;
  socket.onmessage = (message) => hear(JSON.parse(message.data));
  socket.onclose = (closed) => {
    if (live.socket !== socket) return;
    if (closed.code === 4403) lock(closed.reason);
    else connectLater();
  };
}

function connectLater() {
  live.failures += 1;
  const seconds = Math.min(30, 0.5 * 2 ** live.failures) * (0.5 + Math.random() / 2);
  show('waiting', 'Reconnecting …');
  clearTimeout(live.timer);
  live.timer = setTimeout(connect, seconds * 1000);
}

function hear(message) {
  const isFirst = live.place === null;
  live.place = message.id;
  if (message.type === 'connected') {
    live.failures = 0;
    show('live', 'Live');
    if (isFirst) loadDocuments();
  } else if (message.type === 'gap') {
    loadDocuments();
  } else if (message.event.startsWith('document.')) {
    const { document_id: id, at, ...facts } = message.data;
    if (facts.state === 'deleted') forget(id);
    else learn({ id, updated_at: at, waiting: null, ...facts });
  } else if (message.event === 'task.retrying' && message.data.document_id) {
    learn({ id: message.data.document_id, waiting: message.data });
  }
}

// ---- Documents -----------------------------------------------------------------------------------------------------

const documents = new Map(); // id -> what is known of it
const rows = new Map(); // id -> its element
const changed = new Set();

async function loadDocuments() {
  try {
    const { items } = await call('GET', `/documents?limit=${NEWEST}`);
    items.reverse().forEach(learn);
  } catch (error) {
    tell(error.message);
  }
  find('empty').hidden = documents.size > 0;
}

/** Take over what is news of a document; an event that is older than what the list said is none. */
function learn(news) {
  const known = documents.get(news.id) ?? { name: 'A document', state: 'uploaded' };
  if (known.updated_at && news.updated_at && Date.parse(news.updated_at) < Date.parse(known.updated_at)) return;
  documents.set(news.id, { ...known, ...news });
  if (changed.size === 0) requestAnimationFrame(draw);
  changed.add(news.id);
}

function forget(id) {
  documents.delete(id);
  rows.get(id)?.remove();
  rows.delete(id);
  count();
}

function draw() {
  for (const id of changed) if (documents.has(id)) drawRow(documents.get(id));
  changed.clear();
  count();
}

function drawRow(doc) {
  let row = rows.get(doc.id);
  if (!row) {
    row = make('li');
    rows.set(doc.id, row);
    find('documents').prepend(row);
  }
  row.dataset.state = doc.state;
  const percent = doc.progress?.percent ?? 0;
  const title = make('div', { class: 'title' }, make('span', { class: 'name' }, doc.name), make('span', { class: 'state' }, stateOf(doc, percent)));
  const parts = [title, make('p', { class: 'detail' }, detailOf(doc))];
  if (isMoving(doc)) parts.push(make('progress', { max: 100, value: percent, 'aria-label': `Progress of ${doc.name}` }));
  if (isMoving(doc) && doc.waiting) parts.push(make('p', { class: 'sentence wait' }, waitOf(doc.waiting)));
  if (doc.failure) parts.push(make('p', { class: 'sentence bad' }, doc.failure.message));
  else if (doc.warning) parts.push(make('p', { class: 'sentence wait' }, doc.warning));
  row.replaceChildren(...parts);
}

const isMoving = (doc) => ['uploaded', 'extracting', 'indexing'].includes(doc.state);

function stateOf(doc, percent) {
  const words = { uploaded: 'Waiting', extracting: `Reading · ${percent} %`, indexing: `Indexing · ${percent} %`, ready: 'Ready', failed: 'Failed' };
  return words[doc.state] ?? doc.state;
}

function detailOf(doc) {
  const { extraction, indexing } = doc.progress ?? {};
  if (doc.state === 'extracting' && extraction?.total) return `Page ${extraction.done} of ${extraction.total}`;
  if (doc.state === 'indexing' && indexing?.total) return `${indexing.done.toLocaleString('en')} of ${plural(indexing.total, 'passage')}`;
  if (doc.state === 'indexing' && doc.page_count) return `${plural(doc.page_count, 'page')} read`;
  if (doc.state === 'ready') return `${plural(doc.page_count ?? 0, 'page')}, ${plural(doc.chunk_count ?? 0, 'passage')}`;
  return '';
}

function waitOf(task) {
  const time = task.retry_at ? ` It is tried again at ${new Date(task.retry_at).toLocaleTimeString()}.` : '';
  return `${task.error?.message ?? 'It waits for a worker.'}${time}`;
}

let announced = 0;
let announcing = 0;

/** Say how many documents there are; to screen readers at most every three seconds. */
function count() {
  const states = [...documents.values()].map((doc) => (isMoving(doc) ? 'in progress' : doc.state));
  const words = ['in progress', 'ready', 'failed'].map((word) => [states.filter((state) => state === word).length, word]);
  const text = words.filter(([number]) => number).map(([number, word]) => `${number} ${word}`).join(', ');
  find('counts').textContent = text;
  find('empty').hidden = documents.size > 0;
  clearTimeout(announcing);
  announcing = setTimeout(() => {
    announced = Date.now();
    find('announcements').textContent = text && `Documents: ${text}.`;
  }, Math.max(0, announced + 3000 - Date.now()));
}

// ---- Uploads -------------------------------------------------------------------------------------------------------

const waiting = [];
let running = 0;

function uploadAll(files) {
  for (const file of files) {
    const state = make('span', { class: 'state' }, 'Waiting');
    const bar = make('progress', { max: 1, value: 0, 'aria-label': `Upload of ${file.name}` });
    const row = make('li', {}, make('div', { class: 'title' }, make('span', { class: 'name' }, file.name), state), bar);
    find('uploads').append(row);
    waiting.push({ file, row, state, bar });
  }
  uploadNext();
}

function uploadNext() {
  while (running < 2 && waiting.length) upload(waiting.shift());
}

/** Send one file. Only XMLHttpRequest tells how much has been sent. */
function upload({ file, row, state, bar }) {
  running += 1;
  const request = new XMLHttpRequest();
  const form = new FormData();
  form.append('file', file);
  request.open('POST', `${BASE}/documents`);
  request.setRequestHeader('Authorization', `Bearer ${key}`);
  request.responseType = 'json';
  request.upload.onprogress = ({ loaded, total }) => {
    bar.value = total ? loaded / total : 0;
    state.textContent = loaded < total ? `${Math.floor((100 * loaded) / total)} %` : 'Checking …';
  };
  request.onloadend = () => {
    running -= 1;
    const { status, response } = request;
    if (status === 202) {
      row.remove();
    } else if (status === 200) {
      bar.remove();
      state.textContent = 'Is here already';
      setTimeout(() => row.remove(), 6000);
    } else {
      bar.remove();
      row.dataset.state = 'failed';
      state.textContent = 'Not uploaded';
      row.append(make('p', { class: 'sentence bad', role: 'alert' }, response?.detail ?? 'The connection was lost. Try again.'));
    }
    uploadNext();
  };
  state.textContent = '0 %';
  request.send(form);
}

const drop = find('drop');
find('file').addEventListener('change', ({ target }) => {
  uploadAll([...target.files]);
  target.value = '';
});
for (const name of ['dragenter', 'dragover']) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add('over'); });
for (const name of ['dragleave', 'drop']) drop.addEventListener(name, () => drop.classList.remove('over'));
drop.addEventListener('drop', (event) => {
  event.preventDefault();
  uploadAll([...event.dataTransfer.files]);
});

// ---- Search --------------------------------------------------------------------------------------------------------

find('search-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const button = event.submitter ?? event.target.querySelector('button');
  const query = find('query').value.trim();
  if (!query) return;
  button.disabled = true;
  try {
    const { hits } = await call('POST', '/search', { query, limit: 5 });
    find('found').textContent = hits.length ? `The ${plural(hits.length, 'passage')} that fit best.` : 'Nothing fits. Are your documents ready?';
    find('hits').replaceChildren(...hits.map((hit) => hitRow(hit, query)));
  } catch (error) {
    find('found').textContent = error.message;
    find('hits').replaceChildren();
  }
  button.disabled = false;
});

function hitRow(hit, query) {
  const pages = hit.page_from === hit.page_to ? `Page ${hit.page_from}` : `Pages ${hit.page_from}–${hit.page_to}`;
  const title = make('div', { class: 'title' }, make('span', { class: 'name' }, hit.document_name), make('span', { class: 'state' }, pages));
  const whole = hit.text.replace(/\n{3,}/g, '\n\n').trim();
  const excerpt = excerptOf(whole.replace(/\s+/g, ' '), query);
  const row = make('li', {}, title, make('p', { class: 'passage' }, ...marked(excerpt, query)));
  const more = make('details', {}, make('summary', {}, 'The whole passage'), make('p', { class: 'passage whole' }, ...marked(whole, query)));
  if (excerpt.length < whole.length) row.append(more);
  return row;
}

/** Return the words of a question that are worth marking, as a pattern; null when there are none. */
function wordsOf(query) {
  const words = query.split(/[^\p{L}\p{N}]+/u).filter((word) => word.length > 3);
  return words.length ? new RegExp(`(${words.join('|')})`, 'iu') : null;
}

/** Cut out what stands around the first of the question's words. */
function excerptOf(text, query) {
  const pattern = wordsOf(query);
  const place = Math.max(0, pattern ? text.search(pattern) : 0);
  const from = place > EXCERPT / 3 ? text.indexOf(' ', place - EXCERPT / 3) + 1 : 0;
  const to = from + EXCERPT < text.length ? text.lastIndexOf(' ', from + EXCERPT) : text.length;
  if (to <= from) return text.slice(from, from + EXCERPT);
  return `${from ? '… ' : ''}${text.slice(from, to)}${to < text.length ? ' …' : ''}`;
}

/** Mark the words of the question in a passage. */
function marked(text, query) {
  const pattern = wordsOf(query);
  if (!pattern) return [text];
  return text.split(pattern).map((part, index) => (index % 2 ? make('mark', {}, part) : part));
}

// ---- The key -------------------------------------------------------------------------------------------------------

find('key-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const button = event.submitter ?? event.target.querySelector('button');
  key = find('key').value.trim();
  button.disabled = true;
  tell('');
  try {
    await call('GET', '/documents?limit=1');
    find('key').value = '';
    find('locked').hidden = true;
    find('open').hidden = false;
    find('file').focus();
    connect();
  } catch (error) {
    key = '';
    tell(error.message);
  }
  button.disabled = false;
});

find('lock').addEventListener('click', () => lock(''));

/** Forget the key and everything that it has shown. */
function lock(sentence) {
  key = '';
  clearTimeout(live.timer);
  const { socket } = live;
  Object.assign(live, { socket: null, place: null, failures: 0 });
  socket?.close();
  documents.clear();
  rows.clear();
  for (const id of ['documents', 'hits', 'uploads']) find(id).replaceChildren();
  for (const id of ['found', 'counts', 'announcements']) find(id).textContent = '';
  waiting.length = 0;
  find('open').hidden = true;
  find('locked').hidden = false;
  show('closed', 'Not connected');
  tell(sentence);
  find('key').focus();
}
