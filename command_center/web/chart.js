/**
 * One metric of one device over time (uPlot): stored history, then live readings appended; gaps stay gaps, and the
 * limits of standing alarms are drawn in the colour of their level.
 */
import uPlot from './vendor/uplot/uPlot.esm.js';
import { html, useEffect, useRef, useState } from './vendor/htm/standalone.module.js';
import { fetchHistory } from './api.js';
import { numberOf, unitOf, ZONE } from './format.js';
import { say, t } from './i18n.js';
import { SEVERITY } from './severity.js';
import { now, periodOf, state, watch } from './store.js';

const MINUTE = 60_000;
const RANGES = [10, 60, 1440];
const POINTS = 600;

const INK = { line: '#dfe6ec', grid: '#232c36', text: '#9aa7b4' };

/** The span of one drawn point, ms: whole seconds, so that no more than POINTS are asked for. */
const stepOf = (minutes) => Math.max(1_000, Math.ceil((minutes * MINUTE) / POINTS / 1_000) * 1_000);

/** uPlot's columns [seconds, values] with a null wherever nothing was heard for three periods. */
export function columns(points, gapMs) {
  const times = [];
  const values = [];
  let before = null;
  for (const [time, value] of points) {
    if (before !== null && time - before > gapMs) {
      times.push((before + 1) / 1000);
      values.push(null);
    }
    times.push(time / 1000);
    values.push(value);
    before = time;
  }
  return [times, values];
}

function stairs(kind) {
  return kind === 'state' || kind === 'bits' ? uPlot.paths.stepped({ align: 1 }) : undefined;
}

function limitLines(limits) {
  return (chart) => {
    const { ctx, bbox } = chart;
    for (const { limit, severity } of limits()) {
      const y = Math.round(chart.valToPos(limit, 'y', true));
      if (y < bbox.top || y > bbox.top + bbox.height) continue;
      ctx.save();
      ctx.strokeStyle = SEVERITY[severity].color;
      ctx.fillStyle = SEVERITY[severity].color;
      ctx.lineWidth = 1.5 * devicePixelRatio;
      ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.textAlign = 'left';
      ctx.textBaseline = 'bottom';
      ctx.fillText(`${SEVERITY[severity].level} · ${t('chart.limit', numberOf(limit))}`, bbox.left + 6, y - 2);
      ctx.restore();
    }
  };
}

function makeChart(box, metric, minutes, limits) {
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const font = `${Math.round(rem * 0.82)}px system-ui, sans-serif`;
  const axis = { stroke: INK.text, font, grid: { stroke: INK.grid, width: 1 }, ticks: { show: false } };
  const clock = new Intl.DateTimeFormat('en-GB', {
    timeZone: ZONE, hour: '2-digit', minute: '2-digit', hourCycle: 'h23',
  });
  const states = metric.kind === 'state' ? Object.entries(metric.states ?? {}) : [];
  return new uPlot({
    width: box.clientWidth, height: box.clientHeight,
    padding: [rem * 0.6, rem * 0.6, 0, 0],
    cursor: { y: false, points: { size: 6 } },
    legend: { show: false },
    scales: {
      x: { time: true, range: () => [(now() - minutes * MINUTE) / 1000, now() / 1000] },
      y: {
        range: (_, low, high) => {
          const all = [low, high, ...limits().map(({ limit }) => limit)].filter(Number.isFinite);
          if (states.length) all.push(...states.map(([value]) => Number(value)));
          if (!all.length) return [0, 1];
          const [least, most] = [Math.min(...all), Math.max(...all)];
          const room = (most - least || Math.abs(most) * 0.1 || 1) * 0.12;
          return [least - room, most + room];
        },
      },
    },
    axes: [
      { ...axis, size: rem * 2, space: rem * 4.5, values: (_, ticks) => ticks.map((tick) => clock.format(tick * 1000)) },
      {
        ...axis, space: rem * 2.6, size: rem * (states.length ? 5 : 3.6), gap: rem * 0.3,
        ...(states.length ? { splits: () => states.map(([value]) => Number(value)) } : {}),
        values: (_, ticks) => ticks.map((tick) => (states.length ? say(metric.states[String(tick)] ?? String(tick)) : numberOf(tick))),
      },
    ],
    series: [{}, {
      stroke: INK.line, width: rem / 9, points: { show: (u) => u.data[0].length < 60, size: rem / 3, fill: INK.line },
      spanGaps: false, paths: stairs(metric.kind),
    }],
    hooks: { draw: [limitLines(limits)] },
  }, [[], []], box);
}

export function Chart({ device, name, metric }) {
  const box = useRef(null);
  const chart = useRef(null);
  const [minutes, setMinutes] = useState(10);
  const [loaded, setLoaded] = useState({ status: 'loading', points: [] });
  const stored = useRef([]);
  const limits = () => [...state.alarms.values()]
    .filter((alarm) => alarm.device === device.id && alarm.metric === name && alarm.limit !== null);

  useEffect(() => {
    let current = true;
    stored.current = [];
    watch(device.id, name);
    setLoaded({ status: 'loading' });
    fetchHistory(device.id, name, {
      fromMs: now() - minutes * MINUTE,
      toMs: now(),
      stepMs: stepOf(minutes),
      aggregate: metric.kind === 'gauge' ? 'mean' : 'last', // the mean of two states is no state
    }).then((points) => {
      if (!current) return;
      stored.current = points;
      setLoaded({ status: points.length ? 'ready' : 'empty' });
    }, (error) => {
      if (!error.words) throw error;
      if (current) setLoaded({ status: 'failed', words: error.words });
    });
    return () => { current = false; };
  }, [device.id, name, minutes, state.link.status === 'live']);

  useEffect(() => {
    chart.current = makeChart(box.current, metric, minutes, limits);
    const sizes = new ResizeObserver(() => {
      if (box.current?.clientWidth) chart.current.setSize({ width: box.current.clientWidth, height: box.current.clientHeight });
    });
    sizes.observe(box.current);
    return () => {
      sizes.disconnect();
      chart.current.destroy();
    };
  }, [device.id, name, minutes, state.lang]);

  useEffect(() => {
    const last = stored.current.length ? stored.current[stored.current.length - 1][0] : 0;
    const points = [...stored.current, ...state.watched.trail.filter(([time]) => time > last)];
    chart.current.setData(columns(points, 3 * Math.max(stepOf(minutes), periodOf(device))));
  });

  const trailing = state.watched.trail.length > 0;
  const note = loaded.status === 'loading' ? t('chart.loading')
    : loaded.status === 'failed' ? t('chart.failed', say(loaded.words))
      : loaded.status === 'empty' && !trailing ? t('chart.empty') : null;
  return html`<figure class="chart" aria-label=${`${say(metric.label)} ${unitOf(metric.unit)}`}>
    <figcaption><b>${say(metric.label)}</b> ${metric.unit && html`<i>${unitOf(metric.unit)}</i>`}
      <span class="switch" role="group" aria-label=${t('chart.range')}>
        ${RANGES.map((range) => html`<button key=${range} aria-pressed=${range === minutes} onClick=${() => setMinutes(range)}>${t(`chart.${range}`)}</button>`)}
      </span></figcaption>
    <div class="plot" ref=${box} role="img" aria-label=${say(metric.label)}></div>
    ${note && html`<p class="chartnote" role=${loaded.status === 'failed' ? 'alert' : undefined}>${note}</p>`}
  </figure>`;
}
