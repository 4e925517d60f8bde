/** How people are reached and what proves it: one's own contacts, everybody's for a security admin, who may also vouch. */
import { html, useEffect, useState } from './vendor/htm/standalone.module.js';
import { useAct } from './account.js';
import { contactDeed, fetchContacts } from './api.js';
import { Form } from './door.js';
import { momentOf } from './format.js';
import { say, t } from './i18n.js';
import { state } from './store.js';

const keyOf = (one) => `${one.person} ${one.channel}`;

/** Asked for when it is unfolded. */
export function Contacts({ all }) {
  const [open, setOpen] = useState(false);
  return html`<details class="contacts" onToggle=${(event) => setOpen(event.target.open)}><summary>${t('contacts')}</summary>${open && html`<${List} all=${all} />`}</details>`;
}

function List({ all }) {
  const [told, setTold] = useState(null);
  const [open, setOpen] = useState(null); // the one whose code is awaited, or who is vouched for: [key, 'code' | 'vouch']
  const [words, act] = useAct();
  useEffect(() => { act(async () => setTold(await fetchContacts(all))); }, [state.again]);
  if (!told) return words ? html`<p class="warn" role="alert">${words}</p>` : html`<p class="soft">${t('record.loading')}</p>`;
  if (told.contacts.length === 0) return html`<p class="soft">${t('contacts.none')}</p>`;
  const sendCode = (one) => act(async () => {
    setTold(await contactDeed(all, one, 'code', {}));
    setOpen([keyOf(one), 'code']);
  });
  const finish = (one, deed) => async (values) => {
    setTold(await contactDeed(all, one, deed, values));
    setOpen(null);
  };
  return html`<p class="soft">${t('contacts.what')}</p>${words && html`<p class="warn" role="alert">${words}</p>`}
    <ul class="persons">${told.contacts.map((one) => html`<li key=${keyOf(one)} data-contact=${keyOf(one)}>
      <div class="who"><b>${all ? `${say(one.name)} · ` : ''}${one.channel}</b> <code>${one.ending && `…${one.ending}`}</code> <${Proof} one=${one} /></div>
      <div class="buttons"><button onClick=${() => sendCode(one)}>${t('contacts.send')}</button>
        ${all && !one.proven && html`<button onClick=${() => setOpen([keyOf(one), 'vouch'])}>${t('contacts.vouch')}</button>`}</div>
      ${open?.[0] === keyOf(one) && (open[1] === 'code'
        ? html`<${Form} fields=${[['code', 'contacts.code', { inputmode: 'numeric', autocomplete: 'one-time-code', maxlength: 8 }]]} action="contacts.enter" send=${finish(one, 'verify')} />`
        : html`<${Form} fields=${[['reason', 'contacts.reason', { maxlength: 200, autocomplete: 'off' }]]} action="contacts.vouch" send=${finish(one, 'vouch')} />`)}
    </li>`)}</ul>`;
}

function Proof({ one }) {
  if (!one.proven) return html`<b class="unproven">${t('contacts.unproven')}</b>`;
  if (!one.proven_ms) return html`<span class="soft">${t('contacts.machine')}</span>`;
  const how = one.reason ? t('contacts.vouched', one.by, one.reason) : t('contacts.proven', one.by);
  return html`<span class="soft">✓ ${how} · ${momentOf(one.proven_ms, state.lang)}</span>`;
}
