/** The sign of a warning level: its shape, colour and numeral; hollow once acknowledged. */
import { html } from './vendor/htm/standalone.module.js';
import { SEVERITY } from './severity.js';

export function Mark({ severity, hollow = false }) {
  const { path, level, lift } = SEVERITY[severity];
  return html`<svg class="sign ${severity} ${hollow ? 'hollow' : 'full'}" viewBox="-1 -1 26 26" aria-hidden="true">
    <path d=${path} /><text x="12" y=${16 + lift}>${level}</text>
  </svg>`;
}
