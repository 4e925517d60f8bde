/**
 * What stands on the map, whoever draws it: one mark per device, or one per cluster, with shape, colour and numeral.
 *
 * Devices that would cover each other are spread apart in pixels, so that each can be seen and picked.
 */
import { SEVERITY, byRank } from './severity.js';

export const CLUSTER_ABOVE = 300;

/** Pixels between neighbours in a crowd; a crowd of n reaches about `GAP_PX * sqrt(n)` from its middle. */
export const GAP_PX = 13;
const GOLDEN_ANGLE = 2.399963;

/**
 * GeoJSON of every device with coordinates.  `kind` names its drawing, `sort` lifts the worst to the top, `offset` is
 * where to draw it, px from its place: `pixelOf(device)` gives its place on the screen, `gap` the pixels between marks.
 */
export function deviceMarks(devices, selected, pixelOf, gap) {
  const placed = [...devices.values()].filter(({ lon, lat }) => Number.isFinite(lon) && Number.isFinite(lat));
  const offsets = placed.length > CLUSTER_ABOVE ? new Map() : spread(placed.map((device) => [device.id, pixelOf(device)]), gap);
  return {
    type: 'FeatureCollection',
    features: placed.map((device) => ({
      type: 'Feature',
      geometry: { type: 'Point', coordinates: [device.lon, device.lat] },
      properties: {
        device: device.id,
        kind: kindOf(device),
        rank: device.rank ?? 0,
        chosen: device.id === selected ? 1 : 0,
        offset: offsets.get(device.id) ?? [0, 0],
        sort: (device.rank ?? 0) * 4 + (device.open ? 2 : 0) + (device.id === selected ? 1 : 0),
      },
    })),
  };
}

/** Devices whose marks would cover each other stand like the seeds of a sunflower around their common middle. */
function spread(places, gap) {
  const crowds = [];
  for (const [id, [x, y]] of places) {
    const near = crowds.find((crowd) => Math.hypot(crowd.x - x, crowd.y - y) < 1.6 * gap);
    if (near) near.members.push([id, x, y]);
    else crowds.push({ x, y, members: [[id, x, y]] });
  }
  const offsets = new Map();
  for (const { members } of crowds) {
    if (members.length === 1) continue;
    const middleX = members.reduce((sum, [, x]) => sum + x, 0) / members.length;
    const middleY = members.reduce((sum, [, , y]) => sum + y, 0) / members.length;
    members.forEach(([id, x, y], i) => {
      const radius = gap * Math.sqrt(i + 0.5);
      offsets.set(id, [
        Math.round(middleX + radius * Math.cos(i * GOLDEN_ANGLE) - x),
        Math.round(middleY + radius * Math.sin(i * GOLDEN_ANGLE) - y),
      ]);
    });
  }
  return offsets;
}

/** How far below its place a site's name must stand to clear its devices, px. */
export function labelDrop(site, devices, gap) {
  let count = 0;
  for (const device of devices.values()) if (device.site === site.id) count += 1;
  return devices.size > CLUSTER_ABOVE ? gap * 1.8 : gap * (Math.sqrt(count) + 0.9);
}

/** `sev-red-open`, `sev-red-seen`, `live` or `dead`. */
export function kindOf(device) {
  const severity = byRank(device.rank ?? 0);
  if (severity) return `sev-${severity}-${device.open ? 'open' : 'seen'}`;
  return device.condition === 'live' ? 'live' : 'dead';
}

/** The box that holds all devices, sites and streets: [west, south, east, north], or null. */
export function extentOf(devices, sites) {
  let box = null;
  for (const { lon, lat } of [...devices.values(), ...sites.values()]) {
    if (!Number.isFinite(lon) || !Number.isFinite(lat)) continue;
    box = box
      ? [Math.min(box[0], lon), Math.min(box[1], lat), Math.max(box[2], lon), Math.max(box[3], lat)]
      : [lon, lat, lon, lat];
  }
  if (!box) return null;
  const grow = Math.max(0.002, 0.06 * Math.max(box[2] - box[0], box[3] - box[1]));
  return [box[0] - grow, box[1] - grow, box[2] + grow, box[3] + grow];
}

/** Paint one mark on a canvas context whose origin is the mark's middle; `size` is its width in px. */
export function paintMark(ctx, kind, size) {
  const [, severity, how] = kind.split('-');
  if (!severity) return paintPlain(ctx, kind, size);
  const { path, color, ink, level, lift } = SEVERITY[severity];
  const scale = size / 24;
  const shape = new Path2D(path);
  ctx.save();
  ctx.scale(scale, scale);
  ctx.translate(-12, -12);
  ctx.lineJoin = 'round';
  ctx.lineWidth = 5;
  ctx.strokeStyle = '#0d1116';
  ctx.stroke(shape);
  ctx.fillStyle = how === 'open' ? color : '#141a21';
  ctx.fill(shape);
  ctx.lineWidth = how === 'open' ? 1 : 2.2;
  ctx.strokeStyle = how === 'open' ? '#ffffff' : color;
  ctx.stroke(shape);
  ctx.fillStyle = how === 'open' ? ink : color;
  ctx.font = '700 10.5px system-ui, sans-serif';
  ctx.textAlign = 'center';
  ctx.textBaseline = 'middle';
  ctx.fillText(level, 12, 12.6 + lift);
  ctx.restore();
}

function paintPlain(ctx, kind, size) {
  const radius = size * 0.23;
  ctx.save();
  ctx.beginPath();
  ctx.arc(0, 0, radius, 0, 2 * Math.PI);
  ctx.fillStyle = kind === 'live' ? '#b9c4cf' : '#0d1116';
  ctx.strokeStyle = kind === 'live' ? '#0d1116' : '#8d99a6';
  ctx.lineWidth = size * 0.07;
  if (kind !== 'live') ctx.setLineDash([size * 0.11, size * 0.08]);
  ctx.fill();
  ctx.stroke();
  ctx.restore();
}
