/** What a security admin sees: everybody with roles, areas and links, and the screens on walls. */
import { html, useEffect, useState } from './vendor/htm/standalone.module.js';
import { SessionTable, useAct } from './account.js';
import { addPerson, addWall, endWall, fetchPeople, personDeed } from './api.js';
import { Form } from './door.js';
import { t } from './i18n.js';
import { state } from './store.js';

export function People() {
  const [told, setTold] = useState(null);
  const [link, setLink] = useState(null);
  const [words, act] = useAct();
  const take = (next, about) => {
    setTold(next);
    if (next.link) setLink({ url: next.link, about });
  };
  useEffect(() => { act(async () => take(await fetchPeople())); }, [state.again]);
  if (!told) return words ? html`<p class="warn" role="alert">${words}</p>` : html`<p class="soft">${t('record.loading')}</p>`;
  const deed = (login, what, body) => act(async () => take(await personDeed(login, what, body), login));
  return html`<section class="admin"><datalist id="places">${told.places.map((place) => html`<option key=${place} value=${place} />`)}</datalist>
    <h3>${t('people')}</h3>
    ${words && html`<p class="warn" role="alert">${words}</p>`}
    ${link && html`<p class="link" role="status"><b>${t('people.link', link.about)}</b><code>${link.url}</code>
      <button onClick=${() => navigator.clipboard?.writeText(link.url)}>${t('people.copy')}</button></p>`}
    <ul class="persons">${told.people.map((one) => html`<${Person} key=${one.login} one=${one} told=${told} deed=${deed} />`)}</ul>
    <details><summary>${t('people.add')}</summary><${Add} key=${told.people.length} told=${told} take=${take} /></details>
    <h3>${t('walls')}</h3><p class="soft">${t('walls.what')}</p>
    ${told.walls.length > 0 && html`<${SessionTable} sessions=${told.walls} named=${true} end=${(one) => act(async () => take(await endWall(one.id)))} />`}
    <details><summary>${t('walls.add')}</summary>
      <${Form} fields=${[['name', 'walls.where', { maxlength: 48, autocomplete: 'off' }]]} action="walls.add"
        send=${async (values, form) => { take(await addWall(values), values.name); form.reset(); }} /></details>
  </section>`;
}

function Person({ one, told, deed }) {
  const open = told.sessions.filter((session) => session.login === one.login).length;
  const own = one.login === state.me.person.login;
  const stand = !one.active ? 'disabled' : !one.enrolled ? 'invited' : 'enrolled';
  return html`<li data-login=${one.login} class=${stand}>
    <div class="who"><b>${one.name}</b> <code>${one.login}</code> <span class="soft">${t(`people.${stand}`)}${open ? ` · ${t('people.sessions', open)}` : ''}</span></div>
    <${Rights} roles=${one.roles} areas=${one.areas} told=${told} fixed=${own} save=${(body) => deed(one.login, 'rights', body)} />
    ${!own && html`<div class="buttons">
      <button onClick=${() => deed(one.login, 'link')}>${t('people.reset')}</button>
      ${open > 0 && html`<button onClick=${() => deed(one.login, 'end')}>${t('people.end')}</button>`}
      <button onClick=${() => deed(one.login, one.active ? 'disable' : 'enable')}>${t(one.active ? 'people.disable' : 'people.enable')}</button></div>`}
  </li>`;
}

/** Roles to tick and areas to type; `save` is missing where a form around it reads the fields. */
function Rights({ roles, areas, told, fixed = false, save = null }) {
  const [mine, setMine] = useState(roles);
  const [where, setWhere] = useState(areas.join(' '));
  const different = save && (mine.join() !== roles.join() || where.trim() !== areas.join(' '));
  const tick = (role) => setMine(mine.includes(role) ? mine.filter((one) => one !== role) : [...mine, role]);
  return html`<fieldset disabled=${fixed}><legend class="hidden">${t('people.roles')}</legend>
    ${Object.keys(told.roles).map((role) => html`<label key=${role} class="tick"><input type="checkbox" name="roles" value=${role} checked=${mine.includes(role)}
      onChange=${() => tick(role)} />${t(`role.${role}`)}</label>`)}
    <label>${t('people.areas')}<input name="areas" list="places" value=${where} placeholder=${t('people.everywhere')} onInput=${(event) => setWhere(event.target.value)} /></label>
    ${different && html`<button class="primary" onClick=${() => save({ roles: mine, areas: where.split(/[\s,，、]+/).filter(Boolean) })}>${t('people.save')}</button>`}
  </fieldset>`;
}

function Add({ told, take }) {
  const fields = [
    ['login', 'door.login', { maxlength: 32, autocapitalize: 'none', autocomplete: 'off' }],
    ['name', 'door.name', { maxlength: 64, autocomplete: 'off' }],
  ];
  const send = async ({ login, name }, form) => {
    const ticked = new FormData(form);
    const areas = (ticked.get('areas') ?? '').split(/[\s,，、]+/).filter(Boolean);
    take(await addPerson({ login, name, roles: ticked.getAll('roles'), areas }), name);
    form.reset();
  };
  return html`<${Form} fields=${fields} action="people.add" send=${send}><${Rights} roles=${[]} areas=${[]} told=${told} /><//>`;
}
