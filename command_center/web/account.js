/** One's own account: sessions and password; for a security admin also people and walls (people.js). */
import { html, useEffect, useRef, useState } from './vendor/htm/standalone.module.js';
import { changePassword, endSession, fetchSessions, signOut } from './api.js';
import { Contacts } from './contacts.js';
import { Form, Language } from './door.js';
import { momentOf } from './format.js';
import { say, t } from './i18n.js';
import { People } from './people.js';
import { may } from './person.js';
import { set, state } from './store.js';

/** Do something and show its refusal in words; `[words, act]`. */
export function useAct() {
  const [words, setWords] = useState(null);
  const act = async (deed) => {
    try {
      setWords(null);
      return await deed();
    } catch (error) {
      if (!error.words) throw error;
      setWords(say(error.words));
      return undefined;
    }
  };
  return [words, act];
}

/** As a dialog over the page of who may read, as the page itself for who may not. */
export function Account() {
  const dialog = useRef(null);
  const alone = !may('read');
  useEffect(() => {
    if (state.account && !alone) dialog.current.showModal();
  }, [state.account]);
  if (alone) return html`<div role="main" class="ackdialog account alone"><${Content} /></div>`;
  return state.account && html`<dialog ref=${dialog} class="ackdialog account" aria-labelledby="account-title" onClose=${() => set({ account: false })}>
    <${Content} /></dialog>`;
}

function Content() {
  const { person } = state.me;
  const wall = person.roles.includes('wall');
  const out = async () => {
    await signOut();
    location.reload();
  };
  return html`<header><h2 id="account-title">${person.name.replace(/^wall:/, '')}</h2>
      <span class="soft">${person.roles.map((role) => t(`role.${role}`)).join('、')}${person.areas.length > 0 ? ` · ${person.areas.join('、')}` : ''}</span>
      ${!may('read') && html`<${Language} />`}<button onClick=${out}>${t('account.out')}</button>
      ${may('read') && html`<button class="close" aria-label=${t('ack.cancel')} onClick=${() => set({ account: false })}>✕</button>`}</header>
    ${may('people.admin') && html`<${People} />`}
    <${Sessions} />
    ${!wall && html`<${Contacts} all=${may('people.admin')} />`}
    ${!wall && html`<details><summary>${t('account.password')}</summary><${Password} /></details>`}`;
}

/** A table of sessions; `end(session)` ends one. */
export function SessionTable({ sessions, end, named = false }) {
  return html`<div class="scroll"><table class="people"><thead><tr>${named && html`<th>${t('account.who')}</th>`}
      <th>${t('account.since')}</th><th>${t('account.until')}</th><th>${t('account.where')}</th><th></th></tr></thead>
    <tbody>${sessions.map((one) => html`<tr key=${one.id} data-session=${one.id}>${named && html`<td>${one.login.replace(/^wall:/, '')}</td>`}
      <td>${momentOf(one.created_ms, state.lang)}</td><td>${momentOf(one.ends_ms, state.lang)}</td>
      <td>${one.address}<small>${one.browser}</small></td>
      <td>${one.here ? html`<b>${t('account.here')}</b>` : html`<button onClick=${() => end(one)}>${t('account.end')}</button>`}</td></tr>`)}</tbody></table></div>`;
}

function Sessions() {
  const [sessions, setSessions] = useState([]);
  const [words, act] = useAct();
  useEffect(() => { act(async () => setSessions(await fetchSessions())); }, [state.again]);
  const end = (one) => act(async () => setSessions(await endSession(one.id)));
  return html`<section><h3>${t('account.sessions')}</h3>
    <${SessionTable} sessions=${sessions} end=${end} />${words && html`<p class="warn" role="alert">${words}</p>`}</section>`;
}

function Password() {
  const fields = [
    ['old', 'door.password.old', { type: 'password', autocomplete: 'current-password' }],
    ['new', 'door.password.new', { type: 'password', autocomplete: 'new-password' }],
  ];
  const send = async (values) => {
    await changePassword(values);
    location.reload();
  };
  return html`<p class="soft">${t('enrol.rule')}</p><${Form} fields=${fields} action="account.password" send=${send} />`;
}
