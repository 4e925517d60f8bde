/**
 * The server as the page sees it: fetches, errors in words, and the live stream.
 *
 * What the page reads, field by field (times are UTC milliseconds, `Text` is {zh, en}):
 *
 * GET /api/overview
 *   title: Text   now_ms: int   map: {pmtiles?: url on this origin, attribution?: Text}   streets?: GeoJSON FeatureCollection
 *     (LineStrings, WGS-84, properties.name?: Text or string)
 *   sites[]:   {id, name: Text, street?, department?, lon, lat}
 *   devices[]: {id, name: Text, class, profile, site, agent, lon, lat, owner?, status?, last_time: int|null,
 *               period_s?: number, values: {metric: number|null}, quality: {metric: int, only if not good}}
 *   agents[]:  {id, online: bool, since: int}
 *   alarms[]:  Alarm JSON, the worst 5,000 of those that are not closed   open: {red, orange, yellow, blue: int}, all of them
 *   flood:     {since_ms, alarms, positions} | null, while more comes than people can answer
 *   classes:   {class: {label: Text, metrics: {metric: {unit, kind, label: Text,
 *               states: {"0": Text}, bits: {"0": Text}}}}}, metrics in the order of the class file
 * GET /api/alarms?state=all&limit=200    [Alarm JSON], newest first
 * GET /api/alarms/{id}                   Alarm JSON with history: [{id, at_ms, kind, body}], notices: [{…}],
 *                                        run: {plan, title, response, mode, clauses, checklist: […], actions: […]} | null
 * POST /api/alarms/{id}/{deed}           {comment, to?, until_ms?, until_resolved?, version?} → Alarm JSON; else {error: Text}
 *   acknowledge, take_back, assign, comment, shelve, unshelve, withdraw, restore, reset
 * POST /api/alarms/acknowledge           {comment, alarms: [{id, version}], dry_run} → {acknowledged, left} or the summary
 * GET /api/incidents[/{id}]              {id, state, title, severity, category, response, place: [{level, id}], alarms, open_alarms, active_alarms,
 *                                        without_plan, …}; one also has members, runs, cameras, warnings, related, undone, timeline
 * POST /api/incidents/{id}/{deed}        merge {other}, split {alarms}, close and comment {comment}
 * GET /api/data/history?device&metric&from_ms&to_ms&step_ms&aggregate=mean|last
 *                                        {points: [[t, v|null, quality?]]}
 * GET /api/session                      {person: {login, name, roles, areas} | null, rights: [...]}; every request without one: 401
 * GET /api/stream   events `alarm` (Alarm JSON, also when it closes), `latest` ([{device, time, values, quality}]),
 *                   `health` every 2 s: {feed: int|null, data: int|null, broker: bool, desk: bool, flood}
 */

const REQUEST_MS = 8000;

/** A request that failed, with words for people: `words` is a Text, `status` 0 when no answer came. */
export class RequestError extends Error {
  constructor(status, words) {
    super(words.en);
    this.status = status;
    this.words = words;
  }
}

let signedOut = () => {};
/** Hear when the server knows nobody here any more; the reason is `idle` or `prove` when the password is wanted again. */
export const onSignedOut = (listener) => { signedOut = listener; };

const NO_ANSWER = { zh: '指挥中心服务器没有应答', en: 'the command centre server did not answer' };

async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, cache: 'no-store', signal: AbortSignal.timeout(REQUEST_MS) });
  } catch {
    throw new RequestError(0, NO_ANSWER);
  }
  const body = await answer.json().catch(() => null);
  if (answer.ok && body !== null) return body;
  const told = body?.error;
  if (answer.status === 401 && path !== 'api/session') signedOut(told?.reason);
  const words = told?.zh && told?.en ? told
    : { zh: `服务器返回错误 ${answer.status}`, en: `the server answered with error ${answer.status}` };
  throw new RequestError(answer.status, words);
}

export const fetchOverview = () => request('api/overview');
export const fetchRecentAlarms = (limit) => request(`api/alarms?state=all&limit=${limit}`);

/** One alarm with its journal, newest entry last. */
export const fetchAlarm = (id) => request(`api/alarms/${encodeURIComponent(id)}`);

const post = (path, body) => request(path, {
  method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
});

/** Do to one alarm what the deed says (assign, comment, shelve, …); returns the alarm as it then stands. */
export const doDeed = (id, deed, body) => post(`api/alarms/${encodeURIComponent(id)}/${deed}`, body);

/** Send a message that failed or expired once more, under the same id. */
export const sendAgain = (id) => post('api/notices/again', { id });

/** Tick off a task of a plan, approve an action or undo it. */
export const doTask = (run, task) => post(`api/tasks/${task}/done/${run}`, {});
export const doAction = (action, deed) => post(`api/actions/${action}/${deed}`, {});

/** Incidents that are open, the newest first; one with everything of it; what a person does to one. */
export const fetchIncidents = () => request('api/incidents?state=open');
export const fetchIncident = (id) => request(`api/incidents/${encodeURIComponent(id)}`);
export const doIncident = (id, deed, body) => post(`api/incidents/${encodeURIComponent(id)}/${deed}`, body);

/** Warnings from outside that hold now; what a person does to one of ours (sign, cancel). */
export const fetchOutside = () => request('api/warnings/in');
export const doWarning = (id, deed, body) => post(`api/warnings/${encodeURIComponent(id)}/${deed}`, body);

/** Acknowledge many; with `dry_run` only what it would come to. */
export const acknowledgeMany = (body) => post('api/alarms/acknowledge', body);

/** Acknowledge one alarm; returns the alarm as it then stands. */
export const acknowledge = (id, comment) => doDeed(id, 'acknowledge', { comment });

/** Who is signed in; signing in, by password or by a link, and out. */
export const fetchSession = () => request('api/session');
export const signIn = (body) => post('api/session', body);
export const openLink = (token) => post('api/session/link', { token });
export const signOut = () => post('api/session/end', {});
export const sayStillHere = () => fetch('api/session/seen', { method: 'POST' }).catch(() => null);
export const openEnrolment = (token) => post('api/enrolment/open', { token });
export const enrol = (body) => post('api/enrolment', body);
export const changePassword = (body) => post('api/password', body);
export const fetchSessions = () => request('api/sessions');
export const endSession = (id) => post(`api/sessions/${id}/end`, {});

/** One's own contacts, or everybody's; sending a code, entering it, vouching: each answers with them as they then are. */
export const fetchContacts = (all) => request(all ? 'api/contacts' : 'api/session/contacts');
export const contactDeed = (all, one, deed, body) => post(
  all ? `api/contacts/${encodeURIComponent(one.person)}/${encodeURIComponent(one.channel)}/${deed}`
    : `api/session/contacts/${encodeURIComponent(one.channel)}/${deed}`, body);

/** What a security admin does; each answers with everybody as they then are, and `link` where one was made. */
export const fetchPeople = () => request('api/people');
export const addPerson = (body) => post('api/people', body);
export const personDeed = (login, deed, body = {}) => post(`api/people/${encodeURIComponent(login)}/${deed}`, body);
export const addWall = (body) => post('api/walls', body);
export const endWall = (session) => post(`api/walls/${session}/end`, {});

/** Points [[time ms, value|null], …] of one metric, one per step by `aggregate`; empty where nothing was stored. */
export async function fetchHistory(device, metric, { fromMs, toMs, stepMs, aggregate }) {
  const query = new URLSearchParams({
    device, metric, from_ms: Math.round(fromMs), to_ms: Math.round(toMs), step_ms: stepMs, aggregate,
  });
  return (await request(`api/data/history?${query}`)).points;
}

/**
 * One life of the event stream.  `on(kind, data)` receives `open`, `alarm`, `latest`, `health` and, once,
 * `lost`; afterwards the stream is closed and the caller decides when to try again.
 */
export function openStream(on) {
  const source = new EventSource('api/stream');
  let ended = false;
  const close = () => {
    ended = true;
    source.close();
  };
  source.onopen = () => on('open', null);
  source.onerror = () => {
    if (ended) return;
    close();
    on('lost', null);
  };
  for (const kind of ['alarm', 'latest', 'health', 'notices', 'incidents']) {
    source.addEventListener(kind, (event) => {
      if (!ended) on(kind, JSON.parse(event.data));
    });
  }
  return close;
}
