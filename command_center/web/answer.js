/**
 * Acknowledging by the link of a message.  Opening asks what it is about; only the button acknowledges, so that
 * programs that look at links before people do change nothing.  The token stands behind '#' and leaves the address at once.
 */
import { html, render } from './vendor/htm/standalone.module.js';

const lang = navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en';
const WORDS = {
  press: ['确认此告警', 'Acknowledge this alarm'], sending: ['正在确认…', 'One moment…'], as: ['以 {0} 的身份确认', 'Acknowledging as {0}'],
  done: ['✓ 已确认', '✓ Acknowledged'], by: ['已由 {0} 确认', 'Acknowledged by {0}'], began: ['发生于 {0}', 'Began {0}'],
  none: ['链接不完整，请从消息中重新打开', 'The link is not whole: open it from the message again'],
  away: ['指挥中心没有应答，请稍后重试，或致电值班室', 'The command centre does not answer: try again, or call the duty room'],
  again: ['重试', 'Try again'], red: ['红色 I', 'Red I'], orange: ['橙色 II', 'Orange II'], yellow: ['黄色 III', 'Yellow III'], blue: ['蓝色 IV', 'Blue IV'],
};
const word = (key, ...more) => more.reduce((words, one, n) => words.replace(`{${n}}`, one), WORDS[key][lang === 'zh' ? 0 : 1]);
const moment = new Intl.DateTimeFormat(lang === 'zh' ? 'zh-CN' : 'en-GB', { timeZone: 'Asia/Shanghai', dateStyle: 'medium', timeStyle: 'medium' });
const token = location.hash.slice(1);
history.replaceState(null, '', location.pathname); // neither history nor a screenshot keeps it

async function ask(path, seen) {
  let answer;
  try {
    answer = await fetch(path, {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ token, seen }), signal: AbortSignal.timeout(8_000),
    });
  } catch {
    return { words: word('away'), passes: true };
  }
  const body = await answer.json().catch(() => null);
  if (answer.ok && body) return { alarm: body };
  return { words: body?.error?.[lang] ?? word('away'), passes: answer.status >= 500 };
}

function Alarm({ alarm }) {
  return html`<p class=${`level ${alarm.severity}`}>${word(alarm.severity)}</p><h1>${alarm.title[lang]}</h1>
    <p>${alarm.device_name[lang]}</p>
    ${alarm.value !== null && html`<p>${alarm.value} ${alarm.unit}</p>`}
    <p class="soft">${word('began', moment.format(alarm.began_ms))}</p>`;
}

function show(state) {
  const { alarm, words, passes, sending, done } = state;
  const press = async () => {
    show({ ...state, words: null, sending: true });
    const told = await ask('api/answers', alarm.severity);
    if (told.alarm) return show({ alarm: told.alarm, done: true });
    const now = told.passes ? { alarm } : await ask('api/answers/open'); // it may have turned worse, or the link be used
    return show({ ...told, alarm: now.alarm });
  };
  render(html`${alarm && html`<${Alarm} alarm=${alarm} />`}
    ${words && html`<p role="alert">${words}</p>`}
    ${alarm && (alarm.acknowledged_by
      ? html`<p role="status"><b>${done ? word('done') : word('by', alarm.acknowledged_by)}</b></p>`
      : html`<p class="soft">${word('as', alarm.name)}</p>
        <button id="acknowledge" disabled=${sending} onClick=${press}>${word(sending ? 'sending' : 'press')}</button>`)}
    ${!alarm && passes && html`<button onClick=${open}>${word('again')}</button>`}`, document.getElementById('answer'));
}

async function open() {
  show(await ask('api/answers/open'));
}

document.documentElement.lang = lang === 'zh' ? 'zh-CN' : 'en';
if (token) open();
else show({ words: word('none') });
