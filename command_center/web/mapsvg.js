/**
 * The map where WebGL is missing: the same streets, sites and marks drawn as SVG in Web Mercator, with drag and wheel.
 */
import { CLUSTER_ABOVE, deviceMarks, extentOf, GAP_PX, labelDrop } from './marks.js';
import { SEVERITY, byRank } from './severity.js';

const NS = 'http://www.w3.org/2000/svg';
const CELL_PX = 56;

function node(name, attributes = {}, ...children) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const project = (lon, lat) => [
  (lon + 180) / 360,
  0.5 - Math.asinh(Math.tan((lat * Math.PI) / 180)) / (2 * Math.PI),
];

/** Make the map in `box`, with the same handle as the WebGL one. */
export function createSvgMap(box, state, say, onPick) {
  const scale = Number(getComputedStyle(document.documentElement).getPropertyValue('--mark')) || 1;
  const svg = node('svg', { class: 'svgmap', 'aria-hidden': 'true' });
  box.append(svg);
  let view = null; // {x, y: middle in Mercator units, k: px per unit}
  let moved = false;
  let soon = null;

  const at = ([x, y]) => [
    (x - view.x) * view.k + box.clientWidth / 2,
    (y - view.y) * view.k + box.clientHeight / 2,
  ];

  function fit() {
    const extent = extentOf(state.devices, state.sites);
    if (!extent || !box.clientWidth) return;
    const [west, north] = project(extent[0], extent[3]);
    const [east, south] = project(extent[2], extent[1]);
    const room = 60 * scale;
    view = {
      x: (west + east) / 2,
      y: (north + south) / 2,
      k: Math.min((box.clientWidth - room) / (east - west), (box.clientHeight - room) / (south - north)),
    };
  }

  function streets() {
    const layer = node('g', { class: 'streets' });
    for (const { geometry } of state.streets?.features ?? []) {
      const lines = geometry.type === 'MultiLineString' ? geometry.coordinates : geometry.type === 'LineString' ? [geometry.coordinates] : [];
      for (const line of lines) {
        layer.append(node('polyline', { points: line.map(([lon, lat]) => at(project(lon, lat)).map((n) => n.toFixed(1)).join(',')).join(' ') }));
      }
    }
    return layer;
  }

  function labels() {
    const layer = node('g', { class: 'labels' });
    for (const site of state.sites.values()) {
      if (!Number.isFinite(site.lon)) continue;
      const [x, y] = at(project(site.lon, site.lat));
      layer.append(node('text', { x: x.toFixed(1), y: (y + labelDrop(site, state.devices, GAP_PX * scale) + 13 * scale).toFixed(1), 'font-size': 13 * scale }, say(site.name)));
    }
    return layer;
  }

  function mark({ kind, device, chosen, count }, x, y) {
    const size = 26 * scale;
    const group = node('g', { transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})`, class: `mark ${kind}` });
    if (device) {
      group.dataset.device = device;
      group.append(node('circle', { r: size / 2, class: 'touch' }));
    }
    const [, word, how] = kind.split('-');
    if (!word) {
      group.append(node('circle', { r: size * 0.22, class: kind }));
    } else {
      const { path, color, ink, level, lift } = SEVERITY[word];
      const shape = node('g', { transform: `scale(${size / 24}) translate(-12 -12)` });
      const open = how === 'open';
      shape.append(node('path', { d: path, fill: open ? color : '#141a21', stroke: open ? '#fff' : color, 'stroke-width': open ? 1 : 2.2 }));
      shape.append(node('text', { x: 12, y: 12.6 + lift, fill: open ? ink : color, class: 'numeral' }, level));
      group.append(shape);
    }
    if (count > 1) group.append(node('text', { y: size * 0.95, class: 'count', 'font-size': 12 * scale }, `×${count}`));
    if (chosen) group.append(node('circle', { r: size * 0.64, class: 'ring' }));
    return group;
  }

  function marks() {
    const layer = node('g');
    const pixelOf = ({ lon, lat }) => at(project(lon, lat));
    let points = deviceMarks(state.devices, state.selected, pixelOf, GAP_PX * scale).features.map(({ geometry, properties }) => {
      const [x, y] = at(project(...geometry.coordinates));
      return { ...properties, count: 1, x: x + properties.offset[0], y: y + properties.offset[1] };
    }).filter(({ x, y }) => x > -40 && y > -40 && x < box.clientWidth + 40 && y < box.clientHeight + 40);
    if (points.length > CLUSTER_ABOVE) points = gathered(points);
    for (const point of points.sort((a, b) => a.sort - b.sort)) layer.append(mark(point, point.x, point.y));
    return layer;
  }

  function draw() {
    soon = null;
    if (!view || !moved) fit();
    if (!view) return svg.replaceChildren();
    svg.setAttribute('viewBox', `0 0 ${box.clientWidth} ${box.clientHeight}`);
    return svg.replaceChildren(streets(), labels(), marks());
  }

  const update = () => { soon ??= setTimeout(draw, 200); };

  function zoomAt(factor, x, y) {
    if (!view) return;
    moved = true;
    const dx = (x - box.clientWidth / 2) / view.k;
    const dy = (y - box.clientHeight / 2) / view.k;
    view = { x: view.x + dx * (1 - 1 / factor), y: view.y + dy * (1 - 1 / factor), k: view.k * factor };
    draw();
  }

  svg.addEventListener('wheel', (event) => {
    event.preventDefault();
    zoomAt(event.deltaY < 0 ? 1.25 : 0.8, event.offsetX, event.offsetY);
  }, { passive: false });
  let grip = null;
  svg.addEventListener('pointerdown', (event) => { grip = { x: event.clientX, y: event.clientY, far: false }; });
  svg.addEventListener('pointermove', (event) => {
    if (!grip || !view || !(event.buttons & 1)) return;
    const [dx, dy] = [event.clientX - grip.x, event.clientY - grip.y];
    if (!grip.far && Math.hypot(dx, dy) < 4) return;
    moved = true;
    view = { ...view, x: view.x - dx / view.k, y: view.y - dy / view.k };
    grip = { x: event.clientX, y: event.clientY, far: true };
    draw();
  });
  svg.addEventListener('click', (event) => {
    const device = event.target.closest('[data-device]')?.dataset.device;
    if (device && !grip?.far) onPick(device);
  });
  const sizes = new ResizeObserver(update);
  sizes.observe(box);
  return {
    update,
    fit: () => { moved = false; draw(); },
    zoom: (by) => zoomAt(2 ** by, box.clientWidth / 2, box.clientHeight / 2),
    show: () => update(),
    remove: () => { clearTimeout(soon); sizes.disconnect(); svg.remove(); },
  };
}

function gathered(points) {
  const cells = new Map();
  for (const point of points) {
    const key = `${Math.floor(point.x / CELL_PX)},${Math.floor(point.y / CELL_PX)}`;
    const cell = cells.get(key);
    if (!cell) cells.set(key, { ...point });
    else {
      const worse = point.sort > cell.sort ? point : cell;
      Object.assign(cell, { kind: worse.kind, sort: worse.sort, count: cell.count + 1, device: worse.device });
    }
  }
  return [...cells.values()];
}
