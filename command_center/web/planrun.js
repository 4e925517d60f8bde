/** A plan at work: why it was chosen, who has what to do by when, and how far each action has really come. */
import { html, useState } from './vendor/htm/standalone.module.js';
import { doAction, doTask } from './api.js';
import { clockOf } from './format.js';
import { say, t } from './i18n.js';
import { may } from './person.js';
import { now, set, state } from './store.js';

const UNDOABLE = ['executed', 'verified', 'failed'];

export function PlanRun({ run }) {
  const [words, setWords] = useState(null);
  if (!run.plan) return html`<h3>${t('plan')}</h3><p class="noplan">${t('plan.none')}</p>`;
  async function act(deed) {
    try {
      await deed();
      setWords(null);
      set({ notices: state.notices + 1, told: state.told + 1 });
    } catch (error) {
      if (!error.words) throw error;
      setWords(t('deed.failed', say(error.words)));
    }
  }
  const clauses = Object.keys(run.clauses ?? {});
  return html`<section class="planrun">
    <h3>${t('plan')} · ${say(run.title)}${run.device ? ` · ${say(state.devices.get(run.device)?.name ?? run.device)}` : ''} <span class="category">${t('plan.response', run.response)}</span>
      ${run.mode !== 'live' && html`<span class="category mode">${t(`plan.mode.${run.mode}`)}</span>`}</h3>
    ${clauses.length > 0 && html`<p class="soft">${t('plan.why', clauses.map((name) => t(`clause.${name}`)).join(' · '))}</p>`}
    <ol class="timeline tasks">${run.checklist.map((task, n) => html`<li key=${n}>
      <span>${say(task.do)}</span>
      ${task.done ? html`<b>✓ ${t('plan.done.by', task.done[0], clockOf(task.done[1], state.lang))}</b>`
        : html`<span class=${now() > task.due_ms ? 'overdue' : 'soft'}>${now() > task.due_ms ? `⚠ ${t('plan.overdue')} ` : ''}${t('plan.due', task.owner, clockOf(task.due_ms, state.lang))}</span>
          ${may('plan.task') && html`<button onClick=${() => act(() => doTask(run.run, n))}>${t('plan.done')}</button>`}`}</li>`)}</ol>
    <ol class="timeline actions">${run.actions.map((action) => html`<li key=${action.id} data-state=${action.state}>
      <span>${say(action.title)}${action.text ? `「${action.text}」` : ''} · ${state.devices.get(action.device) ? say(state.devices.get(action.device).name) : action.device}</span>
      <b>${action.state === 'verified' ? '✓ ' : ''}${t(`action.${action.state}`)}${action.problem ? `：${action.problem}` : ''}</b>
      ${action.state === 'waiting' && may('action.approve') && html`<button onClick=${() => act(() => doAction(action.id, 'approve'))}>${t('plan.approve')} ${action.approved?.length ?? 0}/${action.interlock === 'two' ? 2 : 1}</button>
        <button onClick=${() => act(() => doAction(action.id, 'decline'))}>${t('plan.decline')}</button>`}
      ${UNDOABLE.includes(action.state) && (action.undo !== undefined || action.text) && may('action.undo') && html`<button onClick=${() => act(() => doAction(action.id, 'undo'))}>${t('plan.undo')}</button>`}
    </li>`)}</ol>
    ${words && html`<p class="warn" role="alert">${words}</p>`}
  </section>`;
}
