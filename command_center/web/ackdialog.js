/** The dialog in which a person acknowledges one alarm in their own name; every refusal is shown in words. */
import { html, useEffect, useRef, useState } from './vendor/htm/standalone.module.js';
import { Reading } from './alarms.js';
import { acknowledge } from './api.js';
import { momentOf } from './format.js';
import { say, t } from './i18n.js';
import { Mark } from './mark.js';
import { set, takeAlarm, state } from './store.js';

export function AckDialog() {
  const alarm = state.alarms.get(state.asking);
  return alarm ? html`<${Form} key=${alarm.id} alarm=${alarm} />` : null;
}

function Form({ alarm }) {
  const dialog = useRef(null);
  const [comment, setComment] = useState('');
  const [words, setWords] = useState(null);
  const [sending, setSending] = useState(false);
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    dialog.current.querySelector('textarea').focus();
    return () => before?.focus?.();
  }, []);
  const leave = () => set({ asking: null });
  async function submit(event) {
    event.preventDefault();
    if (sending) return;
    setSending(true);
    setWords(null);
    try {
      const after = await acknowledge(alarm.id, comment.trim());
      takeAlarm(after);
      if (state.asking === alarm.id) leave();
    } catch (error) {
      if (!error.words) throw error;
      setWords(t('ack.failed', say(error.words)));
      setSending(false);
    }
  }
  const device = state.devices.get(alarm.device);
  const site = state.sites.get(alarm.site ?? device?.site);
  return html`<dialog ref=${dialog} class="ackdialog" aria-labelledby="ack-title" onClose=${leave}>
    <form onSubmit=${submit} novalidate>
      <h2 id="ack-title">${t('ack.title')}</h2>
      <div class="subject">
        <${Mark} severity=${alarm.severity} />
        <div><b>${t(`level.${alarm.severity}`)}　${say(alarm.title)}</b>
          <p>${[say(alarm.device_name ?? alarm.device), site && say(site.name)].filter(Boolean).join(' · ')}</p>
          <p><${Reading} alarm=${alarm} /> ${t('alarm.began', momentOf(alarm.began_ms, state.lang))}</p></div>
      </div>
      ${state.link.status === 'lost' && html`<p class="warn">${t('ack.lost')}</p>`}
      <label>${t('ack.comment')}<textarea name="comment" rows="3" maxlength="500"
        onInput=${(event) => setComment(event.target.value)}>${comment}</textarea></label>
      <p class="warn" role="alert">${words}</p>
      <div class="buttons">
        <button type="button" onClick=${leave}>${t('ack.cancel')}</button>
        <button type="submit" class="primary" disabled=${sending}>${t(sending ? 'ack.sending' : 'ack')}</button>
      </div>
    </form>
  </dialog>`;
}
