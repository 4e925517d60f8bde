/** Acknowledges many alarms at once: says first how many and how bad they are, and never takes a red one along. */
import { html, useEffect, useRef, useState } from './vendor/htm/standalone.module.js';
import { acknowledgeMany } from './api.js';
import { say, t } from './i18n.js';
import { Mark } from './mark.js';
import { set, state } from './store.js';

const MOST = 1000;

export function BulkDialog() {
  return state.sweeping ? html`<${Form} alarms=${state.sweeping.slice(0, MOST)} />` : null;
}

function Form({ alarms }) {
  const dialog = useRef(null);
  const [comment, setComment] = useState('');
  const [summary, setSummary] = useState(null);
  const [words, setWords] = useState(null);
  const [sending, setSending] = useState(false);
  const seen = alarms.map(({ id, version }) => ({ id, version }));
  const leave = () => set({ sweeping: null });
  const fail = (error) => {
    if (!error.words) throw error;
    setWords(t('ack.failed', say(error.words)));
    setSending(false);
  };
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    acknowledgeMany({ comment: '', alarms: seen, dry_run: true }).then(setSummary, fail);
    return () => before?.focus?.();
  }, []);
  async function submit(event) {
    event.preventDefault();
    if (sending || !summary?.alarms) return;
    setSending(true);
    try {
      const { left } = await acknowledgeMany({ comment: comment.trim(), alarms: seen });
      const reasons = Object.values(left);
      if (!reasons.length) leave();
      else setWords(t('sweep.left', reasons.length, [...new Set(reasons)].join(', ')));
      setSending(false);
    } catch (error) {
      fail(error);
    }
  }
  return html`<dialog ref=${dialog} class="ackdialog" aria-labelledby="sweep-title" onClose=${leave}>
    <form onSubmit=${submit} novalidate>
      <h2 id="sweep-title">${t('sweep.title')}</h2>
      ${summary && !summary.alarms && html`<p>${t('sweep.none')}</p>`}
      ${summary?.alarms > 0 && html`<div class="sweepcounts"><p>${t('sweep.summary', summary.alarms, t(`color.${summary.worst}`))}</p>
        <ul>${Object.entries(summary.by_severity).filter(([, count]) => count).map(([word, count]) => html`<li key=${word}>
          <${Mark} severity=${word} /> ${t(`level.${word}`)} <b>${count}</b></li>`)}</ul></div>`}
      <p class="soft">${t('sweep.red')}</p>
      <label>${t('ack.comment')}<textarea name="comment" rows="2" maxlength="500"
        onInput=${(event) => setComment(event.target.value)}>${comment}</textarea></label>
      <p class="warn" role="alert">${words}</p>
      <div class="buttons">
        <button type="button" onClick=${leave}>${t('ack.cancel')}</button>
        <button type="submit" class="primary" disabled=${sending || !summary?.alarms}>${t(sending ? 'ack.sending' : 'ack')}</button>
      </div>
    </form>
  </dialog>`;
}
