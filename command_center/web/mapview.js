/**
 * The map's place on the page: chooses WebGL or SVG, feeds it from the store, and offers fit, zoom and a legend.
 */
import { html, useEffect, useRef, useState } from './vendor/htm/standalone.module.js';
import { say, t } from './i18n.js';
import { createMap, hasWebgl } from './map.js';
import { createSvgMap } from './mapsvg.js';
import { SEVERITIES } from './severity.js';
import { Mark } from './mark.js';
import { onChange, select, state } from './store.js';

/** Make one map and keep it for the life of the page. */
function startMap(box, onPlain) {
  let map = null;
  let ended = false;
  const pick = (device) => {
    select(device);
    if (matchMedia('(max-width: 799px)').matches) state.tab = 'devices';
  };
  const plain = () => {
    if (ended) return;
    map?.remove();
    box.replaceChildren();
    map = createSvgMap(box, state, say, pick);
    map.update();
    onPlain(true);
  };
  const start = async () => {
    if (!hasWebgl()) return plain();
    try {
      const made = await createMap(box, state, say, pick, (error) => {
        console.warn('map: drawn without WebGL:', error?.message);
        plain();
      });
      if (ended) made.remove();
      else map = made;
    } catch (error) {
      console.warn('map: drawn without WebGL:', error.message);
      plain();
    }
    return undefined;
  };
  start();
  let shown = state.selected;
  const stop = onChange(() => {
    map?.update();
    if (state.selected !== shown) {
      shown = state.selected;
      map?.show(state.devices.get(shown));
    }
  });
  return {
    call: (name, ...args) => map?.[name](...args),
    stop: () => { ended = true; stop(); map?.remove(); },
  };
}

export function MapView() {
  const box = useRef(null);
  const handle = useRef(null);
  const [plain, setPlain] = useState(false);
  const known = state.devices.size > 0;
  useEffect(() => {
    if (!known) return undefined;
    handle.current = startMap(box.current, setPlain);
    return () => handle.current.stop();
  }, [known]);
  const attribution = say(state.map.attribution ?? (state.map.pmtiles ? '© OpenStreetMap' : ''));
  return html`<section class="map" aria-label=${t('map')} data-plain=${plain}>
    <div class="mapbox" ref=${box}></div>
    <div class="mapbuttons">
      <button onClick=${() => handle.current?.call('zoom', 1)} aria-label=${t('map.closer')}>＋</button>
      <button onClick=${() => handle.current?.call('zoom', -1)} aria-label=${t('map.farther')}>－</button>
      <button onClick=${() => handle.current?.call('fit')}>${t('map.fit')}</button>
    </div>
    <ul class="legend" aria-hidden="true">
      ${SEVERITIES.map((word) => html`<li key=${word}><${Mark} severity=${word} hollow=${true} /> ${t(`color.${word}`)}</li>`)}
      <li><i class="dot live"></i> ${t('map.normal')}</li>
      <li><i class="dot dead"></i> ${t('map.stale')}</li>
    </ul>
    <p class="mapnote">${[plain && t('map.plain'), attribution].filter(Boolean).join(' · ')}</p>
  </section>`;
}
