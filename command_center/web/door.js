/** The way in: signing in, enrolling by a link, and the password again for who was away. */
import { html, useEffect, useRef, useState } from './vendor/htm/standalone.module.js';
import { enrol, openEnrolment, signIn } from './api.js';
import { say, setLanguage, t } from './i18n.js';
import { takeSession } from './person.js';
import { changed, set, state } from './store.js';

export function Language() {
  const other = state.lang === 'zh' ? 'en' : 'zh';
  return html`<button type="button" class="language" lang=${other}
    onClick=${() => { setLanguage(other); changed(); }}>${t('language')}</button>`;
}

/** The whole screen while nobody is signed in. */
export function Door() {
  const { door } = state;
  return html`<div class="door"><div role="main" class="doorcard">
    <header><h1>${say(state.title)}</h1><${Language} /></header>
    ${door.waiting ? html`<p role="status">${say(door.words)}</p>`
      : door.enrol ? html`<${Enrol} token=${door.enrol} />`
        : html`${door.words && html`<p class="warn" role="alert">${say(door.words)}</p>`}
          ${door.first ? html`<p class="soft">${t('door.first')}</p>` : html`<${SignIn} />`}`}
  </div></div>`;
}

/** The password again, over the screen that goes on showing alarms. */
export function Again() {
  return state.again ? html`<${AgainDialog} />` : null;
}

function AgainDialog() {
  const dialog = useRef(null);
  useEffect(() => dialog.current.showModal(), []);
  return html`<dialog ref=${dialog} class="ackdialog" aria-labelledby="again-title" onClose=${() => set({ again: false })}>
    <h2 id="again-title">${t('door.again')}</h2>
    <${SignIn} login=${state.me.person.login} />
  </dialog>`;
}

/** A form whose fields are `[name, key of its words, attributes]`; `send(values)` says what became of it. */
export function Form({ fields, action, send, children }) {
  const [words, setWords] = useState(null);
  const [sending, setSending] = useState(false);
  async function submit(event) {
    event.preventDefault();
    if (sending) return;
    setSending(true);
    setWords(null);
    try {
      const values = Object.fromEntries([...new FormData(event.target)].map(([key, value]) => [key, value.trim?.() ?? value]));
      for (const [name] of fields.filter(([, , more]) => more?.type === 'password')) values[name] = event.target.elements[name].value;
      await send(values, event.target);
    } catch (error) {
      if (!error.words) throw error;
      setWords(say(error.words));
    }
    setSending(false);
  }
  return html`<form onSubmit=${submit} novalidate>
    ${fields.map(([name, key, more]) => html`<label key=${name}>${t(key)}<input name=${name} ...${more} /></label>`)}
    ${children}
    <p class="warn" role="alert">${words}</p>
    <div class="buttons"><button type="submit" class="primary" disabled=${sending}>${t(sending ? 'ack.sending' : action)}</button></div>
  </form>`;
}

const CODE = ['code', 'door.code', { inputmode: 'numeric', autocomplete: 'one-time-code', maxlength: 8 }];

function SignIn({ login = '' }) {
  const fields = [
    ['login', 'door.login', { autocomplete: 'username', autocapitalize: 'none', maxlength: 64, defaultValue: login, readonly: login !== '' }],
    ['password', 'door.password', { type: 'password', autocomplete: 'current-password' }],
    ...(state.door?.second_factor === false ? [] : [CODE]),
  ];
  const send = async (values) => {
    await signIn(values);
    await takeSession();
  };
  return html`<${Form} fields=${fields} action="door.enter" send=${send} />`;
}

function Enrol({ token }) {
  const [told, setTold] = useState(null);
  const [words, setWords] = useState(null);
  useEffect(() => {
    openEnrolment(token).then(setTold, (error) => {
      if (!error.words) throw error;
      setWords(say(error.words));
    });
  }, []);
  if (words) {
    return html`<p class="warn" role="alert">${words}</p>
      <div class="buttons"><button onClick=${() => takeSession()}>${t('door.enter')}</button></div>`;
  }
  if (!told) return html`<p class="soft">${t('record.loading')}</p>`;
  const fields = [
    ...(told.first ? [
      ['login', 'door.login', { autocomplete: 'username', autocapitalize: 'none', maxlength: 32 }],
      ['name', 'door.name', { autocomplete: 'name', maxlength: 64 }]] : []),
    ['password', 'door.password.new', { type: 'password', autocomplete: 'new-password' }],
    ['repeat', 'door.password.repeat', { type: 'password', autocomplete: 'new-password' }],
    ...(told.second_factor ? [CODE] : []),
  ];
  const send = async ({ repeat, ...values }) => {
    if (repeat !== values.password) throw Object.assign(new Error('repeat'), { words: t('door.differ') });
    await enrol({ token, ...values });
    await takeSession();
  };
  return html`<h2>${told.first ? t('enrol.first') : t('enrol.title', told.name, told.login)}</h2>
    ${told.second_factor && html`<div class="qr">
      <img alt=${t('enrol.qr')} src=${`data:image/svg+xml,${encodeURIComponent(told.picture)}`} />
      <p>${t('enrol.scan')}<br /><code>${told.secret.match(/.{4}/g).join(' ')}</code></p></div>`}
    <p class="soft">${t('enrol.rule')}</p>
    <${Form} fields=${fields} action="enrol.do" send=${send} />`;
}
