/**
 * A dark, quiet style for a vector basemap in the Protomaps schema (layers earth, water, landuse, roads, places):
 * ground and roads only, no colour, so that alarms keep all of it.
 */

const INK = { earth: '#12181f', green: '#131b1e', water: '#0a1016', road: '#28323c', major: '#36424e', text: '#8a97a5' };

const width = (thin, wide) => ['interpolate', ['exponential', 1.6], ['zoom'], 10, thin, 17, wide];
const roads = (id, kinds, color, thin, wide) => ({
  id, type: 'line', source: 'base', 'source-layer': 'roads',
  filter: ['in', ['get', 'kind'], ['literal', kinds]],
  paint: { 'line-color': color, 'line-width': width(thin, wide) },
  layout: { 'line-cap': 'round', 'line-join': 'round' },
});

/** Style layers over the source `base`; `scale` enlarges letters for a wall. */
export function basemapLayers(scale) {
  return [
    { id: 'earth', type: 'fill', source: 'base', 'source-layer': 'earth', paint: { 'fill-color': INK.earth } },
    { id: 'green', type: 'fill', source: 'base', 'source-layer': 'landuse', paint: { 'fill-color': INK.green } },
    { id: 'water', type: 'fill', source: 'base', 'source-layer': 'water', filter: ['==', ['geometry-type'], 'Polygon'], paint: { 'fill-color': INK.water } },
    { id: 'rivers', type: 'line', source: 'base', 'source-layer': 'water', filter: ['==', ['geometry-type'], 'LineString'], paint: { 'line-color': INK.water, 'line-width': width(0.6, 6) } },
    roads('roads-minor', ['minor_road', 'other', 'path'], INK.road, 0.2, 7),
    roads('roads-major', ['major_road', 'highway'], INK.major, 0.8, 12),
    {
      id: 'places', type: 'symbol', source: 'base', 'source-layer': 'places',
      layout: { 'text-field': ['coalesce', ['get', 'name:zh-Hans'], ['get', 'name:zh'], ['get', 'name']], 'text-font': ['sans'], 'text-size': 12 * scale },
      paint: { 'text-color': INK.text, 'text-halo-color': '#0d1116', 'text-halo-width': 1.5 },
    },
  ];
}
