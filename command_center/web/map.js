/**
 * The map drawn with WebGL (maplibre-gl): streets or a vector basemap, site labels, device marks, clusters.
 *
 * All marks are one symbol layer whose pictures are painted on a canvas when first needed, so that no sprite or glyph
 * server is asked; letters come from the screen's own fonts.
 */
import { basemapLayers } from './basemap.js';
import { CLUSTER_ABOVE, deviceMarks, extentOf, GAP_PX, kindOf, labelDrop, paintMark } from './marks.js';
import { SEVERITY, byRank } from './severity.js';

const FONTS = '"Noto Sans CJK SC","Noto Sans SC","PingFang SC","Microsoft YaHei",sans-serif';
const MARK_PX = 30;
const LABEL_PX = 13.5;
const MANY = 2_000;
const PICTURES_KEPT = 300;
const EMPTY = { type: 'FeatureCollection', features: [] };

/** Whether this screen can draw with WebGL 2. */
export function hasWebgl() {
  const context = document.createElement('canvas').getContext('webgl2');
  context?.getExtension('WEBGL_lose_context')?.loseContext();
  return context !== null;
}

async function pmtilesReady(maplibre) {
  if (!globalThis.pmtiles) {
    const script = Object.assign(document.createElement('script'), { src: 'vendor/pmtiles/pmtiles.js' });
    document.head.append(script);
    await new Promise((resolve, reject) => Object.assign(script, { onload: resolve, onerror: reject }));
  }
  maplibre.addProtocol('pmtiles', new globalThis.pmtiles.Protocol().tile);
}

function pictureOf(name, ratio) {
  const scale = Number(getComputedStyle(document.documentElement).getPropertyValue('--mark')) || 1;
  const px = MARK_PX * scale;
  const cluster = name.startsWith('cluster');
  const side = Math.ceil((cluster ? 1.7 : 1.25) * px * ratio);
  const canvas = Object.assign(document.createElement('canvas'), { width: side, height: side });
  const ctx = canvas.getContext('2d');
  ctx.translate(side / 2, side / 2);
  if (cluster) paintCluster(ctx, name, px * ratio);
  else if (name === 'chosen') paintChosen(ctx, px * ratio);
  else paintMark(ctx, name, px * ratio * 0.86);
  return ctx.getImageData(0, 0, side, side);
}

function paintChosen(ctx, px) {
  ctx.beginPath();
  ctx.arc(0, 0, px * 0.56, 0, 2 * Math.PI);
  ctx.lineWidth = px * 0.08;
  ctx.strokeStyle = '#ffffff';
  ctx.stroke();
}

/** `cluster:<sort of the worst>:<count>:<alarms>`: a disc with the count, and the worst mark as a badge. */
function paintCluster(ctx, name, px) {
  const [, sort, count, alarms] = name.split(':');
  const severity = byRank(Math.floor(Number(sort) / 4));
  ctx.beginPath();
  ctx.arc(0, 0, px * 0.62, 0, 2 * Math.PI);
  ctx.fillStyle = '#1b232c';
  ctx.fill();
  ctx.lineWidth = px * 0.08;
  ctx.strokeStyle = severity ? SEVERITY[severity].color : '#8d99a6';
  ctx.stroke();
  ctx.fillStyle = '#e8edf2';
  ctx.textAlign = 'center';
  ctx.textBaseline = 'middle';
  ctx.font = `600 ${px * 0.42}px system-ui, sans-serif`;
  ctx.fillText(count, 0, 0);
  if (!severity) return;
  ctx.save();
  ctx.translate(px * 0.45, -px * 0.45);
  paintMark(ctx, kindOf({ rank: SEVERITY[severity].rank, open: Math.floor(Number(sort) / 2) % 2 }), px * 0.6);
  ctx.restore();
  if (Number(alarms) > 1) {
    ctx.font = `700 ${px * 0.3}px system-ui, sans-serif`;
    ctx.fillStyle = SEVERITY[severity].color;
    ctx.fillText(`×${alarms}`, 0, px * 0.42);
  }
}

function ownLayers(scale) {
  return [
    { id: 'streets-casing', type: 'line', source: 'streets', paint: { 'line-color': '#0a0d11', 'line-width': ['interpolate', ['exponential', 1.6], ['zoom'], 11, 2, 16, 13] }, layout: { 'line-cap': 'round', 'line-join': 'round' } },
    { id: 'streets', type: 'line', source: 'streets', paint: { 'line-color': '#2c3641', 'line-width': ['interpolate', ['exponential', 1.6], ['zoom'], 11, 1, 16, 10] }, layout: { 'line-cap': 'round', 'line-join': 'round' } },
    { id: 'street-names', type: 'symbol', source: 'streets', minzoom: 12.5, layout: { 'symbol-placement': 'line', 'text-field': ['get', 'label'], 'text-font': ['sans'], 'text-size': 12 * scale }, paint: { 'text-color': '#8a97a5', 'text-halo-color': '#0d1116', 'text-halo-width': 1.5 } },
    { id: 'sites', type: 'symbol', source: 'sites', layout: { 'text-field': ['get', 'label'], 'text-font': ['sans'], 'text-size': LABEL_PX * scale, 'text-anchor': 'top', 'text-offset': ['get', 'drop'], 'text-padding': 4 }, paint: { 'text-color': '#c3cdd6', 'text-halo-color': '#0d1116', 'text-halo-width': 2 } },
    { id: 'chosen', type: 'symbol', source: 'devices', filter: ['==', ['get', 'chosen'], 1], layout: { 'icon-image': 'chosen', 'icon-allow-overlap': true, 'icon-ignore-placement': true, 'icon-offset': ['get', 'offset'] } },
    {
      id: 'devices', type: 'symbol', source: 'devices',
      layout: {
        'icon-image': ['case', ['has', 'point_count'],
          ['concat', 'cluster:', ['to-string', ['get', 'worst']], ':', ['to-string', ['get', 'point_count_abbreviated']], ':',
            ['case', ['>', ['get', 'alarms'], 99], '99+', ['to-string', ['get', 'alarms']]]],
          ['get', 'kind']],
        'icon-offset': ['case', ['has', 'offset'], ['get', 'offset'], ['literal', [0, 0]]],
        'icon-allow-overlap': true, 'icon-ignore-placement': true,
        'symbol-sort-key': ['coalesce', ['get', 'worst'], ['get', 'sort'], 0],
      },
    },
  ];
}

const CLUSTERS = {
  cluster: true, clusterRadius: 48, clusterMaxZoom: 15,
};

/** Make the map in `box`; `onPick(device id)` on a click.  Rejects when the map cannot be made. */
export async function createMap(box, state, say, onPick, onFailure) {
  const maplibre = await import('./vendor/maplibre-gl/maplibre-gl.mjs');
  const scale = Number(getComputedStyle(document.documentElement).getPropertyValue('--mark')) || 1;
  const tiles = state.map.pmtiles ?? null;
  if (tiles) await pmtilesReady(maplibre);
  const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
  const many = () => state.devices.size > CLUSTER_ABOVE;
  let extent = extentOf(state.devices, state.sites);
  const map = new maplibre.Map({
    container: box,
    attributionControl: false,
    localIdeographFontFamily: FONTS,
    bounds: extent ?? [[115.8, 31.8], [116, 31.9]],
    fadeDuration: 0,
    maxZoom: 19,
    pitchWithRotate: false,
    dragRotate: false,
    touchPitch: false,
    style: {
      version: 8,
      sources: {
        ...(tiles ? { base: { type: 'vector', url: `pmtiles://${new URL(tiles, location.href).href}` } } : {}),
        streets: { type: 'geojson', data: EMPTY },
        sites: { type: 'geojson', data: EMPTY },
        devices: {
          type: 'geojson', data: EMPTY, ...CLUSTERS, cluster: many(),
          clusterProperties: { worst: ['max', ['get', 'sort']], alarms: ['+', ['case', ['>', ['get', 'rank'], 0], 1, 0]] },
        },
      },
      layers: [
        { id: 'ground', type: 'background', paint: { 'background-color': '#0f141a' } },
        ...(tiles ? basemapLayers(scale) : []),
        ...ownLayers(scale),
      ],
    },
  });
  map.touchZoomRotate.disableRotation();
  map.keyboard.disableRotation();
  const pictures = new Set();
  map.setMissingStyleImageResolver((id) => {
    if (pictures.size > PICTURES_KEPT) {
      for (const old of pictures) map.removeImage(old);
      pictures.clear();
    }
    if (id.startsWith('cluster')) pictures.add(id);
    map.addImage(id, pictureOf(id, devicePixelRatio), { pixelRatio: devicePixelRatio });
  });
  map.on('error', ({ error }) => {
    if (tiles && /pmtiles|tile/i.test(error?.message ?? '')) return; // the streets and marks stand without a basemap
    onFailure(error);
  });
  let lost = null;
  map.on('webglcontextlost', () => { lost = setTimeout(onFailure, 5_000, new Error('WebGL context lost')); });
  map.on('webglcontextrestored', () => clearTimeout(lost));
  let moved = false;
  for (const kind of ['dragstart', 'wheel', 'touchstart']) map.on(kind, () => { moved = true; });
  map.on('click', 'devices', (event) => {
    const [feature] = event.features;
    const { device, cluster_id: cluster } = feature.properties;
    if (device) return onPick(device);
    return map.getSource('devices').getClusterExpansionZoom(cluster).then((zoom) => {
      map.easeTo({ center: feature.geometry.coordinates, zoom, animate: !still });
    });
  });
  map.on('mouseenter', 'devices', () => { map.getCanvas().style.cursor = 'pointer'; });
  map.on('mouseleave', 'devices', () => { map.getCanvas().style.cursor = ''; });
  const fit = (animate) => extent && map.fitBounds(extent, { padding: 40 * scale, maxZoom: 16, animate, duration: 400 });
  map.on('resize', () => { if (!moved) fit(false); });

  let drawn = { places: -1, lang: null, streets: undefined, at: 0 };
  let soon = null;
  let ready = false;

  function draw() {
    soon = null;
    if (!ready) return;
    drawn.at = performance.now();
    if (drawn.places !== state.places) {
      drawn.places = state.places;
      const source = map.getSource('devices');
      source.setClusterOptions({ ...CLUSTERS, cluster: many() });
      const pixelOf = ({ lon, lat }) => {
        const { x, y } = map.project([lon, lat]);
        return [x, y];
      };
      source.setData(deviceMarks(state.devices, state.selected, pixelOf, GAP_PX * scale));
      const now = extentOf(state.devices, state.sites);
      if (String(now) !== String(extent)) {
        extent = now;
        if (!moved) fit(false);
      }
    }
    if (drawn.lang !== state.lang || drawn.streets !== state.streets || drawn.sites !== state.sites) {
      Object.assign(drawn, { lang: state.lang, streets: state.streets, sites: state.sites });
      map.getSource('sites').setData(labelled([...state.sites.values()].filter((site) => Number.isFinite(site.lon)).map((site) => ({
        type: 'Feature', geometry: { type: 'Point', coordinates: [site.lon, site.lat] },
        properties: { name: site.name, drop: [0, labelDrop(site, state.devices, GAP_PX * scale) / (LABEL_PX * scale)] },
      })), say));
      map.getSource('streets').setData(labelled(state.streets?.features ?? [], say));
    }
  }

  function update() {
    if (soon !== null) return;
    const pause = state.devices.size > MANY ? 1_000 : 100;
    soon = setTimeout(draw, Math.max(0, drawn.at + pause - performance.now()));
  }

  map.on('zoomend', () => {
    drawn.places = -1;
    update();
  });
  map.once('load', () => {
    ready = true;
    fit(false);
    draw();
  });
  return {
    update,
    fit: () => { moved = false; fit(!still); },
    zoom: (by) => { moved = true; map.zoomTo(map.getZoom() + by, { animate: !still, duration: 200 }); },
    show(device) {
      if (Number.isFinite(device?.lon) && !map.getBounds().contains([device.lon, device.lat])) {
        map.easeTo({ center: [device.lon, device.lat], animate: !still });
      }
    },
    remove: () => { clearTimeout(soon); clearTimeout(lost); map.remove(); },
  };
}

function labelled(features, say) {
  return {
    type: 'FeatureCollection',
    features: features.map((feature) => ({
      ...feature, properties: { ...feature.properties, label: say(feature.properties?.name ?? '') },
    })),
  };
}
