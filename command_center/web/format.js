/**
 * Numbers, times, ages and units in words.  Times are shown in the city's own zone and kept in UTC ms.
 */

export const ZONE = 'Asia/Shanghai';
const LOCALE = { zh: 'zh-CN', en: 'en-GB' };

const UNITS = {
  degC: '°C', deg: '°', 'ug/m3': 'µg/m³', 'mg/m3': 'mg/m³', 'm3/h': 'm³/h', m3: 'm³', 'uS/cm': 'µS/cm', 'ug/L': 'µg/L', 'W/m2': 'W/m²',
};

/** The unit as people write it. */
export const unitOf = (unit) => UNITS[unit] ?? unit ?? '';

/** A number with as many digits as help: 3 significant below 100, none that were not measured above. */
export function numberOf(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return '—';
  const size = Math.abs(value);
  const digits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 3;
  return Number(value.toFixed(digits)).toLocaleString('en-US', { maximumFractionDigits: digits });
}

const makers = new Map();

function made(lang, shape, options) {
  const key = lang + shape;
  if (!makers.has(key)) {
    makers.set(key, new Intl.DateTimeFormat(LOCALE[lang], { timeZone: ZONE, hourCycle: 'h23', ...options }));
  }
  return makers.get(key);
}

export const clockOf = (ms, lang) =>
  made(lang, 'clock', { hour: '2-digit', minute: '2-digit', second: '2-digit' }).format(ms);

const dayOf = (ms, lang) => made(lang, 'day', { year: 'numeric', month: '2-digit', day: '2-digit' }).format(ms);

export const dateOf = (ms, lang) =>
  `${dayOf(ms, lang)} ${made(lang, 'weekday', { weekday: 'short' }).format(ms)}`;

export const momentOf = (ms, lang) =>
  made(lang, 'moment', { month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit' }).format(ms);

/** The time alone today, the date with it on any other day. */
export const whenOf = (ms, at, lang) => (dayOf(ms, lang) === dayOf(at, lang) ? clockOf(ms, lang) : momentOf(ms, lang));

/** A span in words: `42 s`, `5 min`, `3 h 10 min`, `2 d 4 h`; 秒 分 时 天 in Chinese. */
export function spanOf(ms, lang) {
  const [second, minute, hour, day] = lang === 'zh' ? [' 秒', ' 分', ' 时', ' 天'] : [' s', ' min', ' h', ' d'];
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s}${second}`;
  const m = Math.floor(s / 60);
  if (m < 60) return `${m}${minute}`;
  const h = Math.floor(m / 60);
  if (h < 24) return m % 60 ? `${h}${hour} ${m % 60}${minute}` : `${h}${hour}`;
  const d = Math.floor(h / 24);
  return h % 24 ? `${d}${day} ${h % 24}${hour}` : `${d}${day}`;
}

/** What a value says: a state's word, the bits that are set, or a number; `unit` apart so that it can be set smaller. */
export function sayValue(metric, value, lang) {
  if (value === null || value === undefined) return { text: '—', unit: '' };
  const kind = metric?.kind;
  if (kind === 'state') return { text: metric.states?.[String(value)]?.[lang] ?? numberOf(value), unit: '' };
  if (kind === 'bits') {
    const set = Object.entries(metric.bits ?? {}).filter(([bit]) => (BigInt(Math.trunc(value)) >> BigInt(bit)) & 1n);
    return { text: set.length ? set.map(([, word]) => word[lang]).join(', ') : '0', unit: '' };
  }
  return { text: numberOf(value), unit: unitOf(metric?.unit) };
}
