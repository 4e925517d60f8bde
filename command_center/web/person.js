/** Who is signed in at this screen, and what he may. */
import { fetchSession, onSignedOut, openLink, sayStillHere } from './api.js';
import { set, state } from './store.js';

const SEEN_EVERY_MS = 60_000;

/** Whether who is signed in has a right; the server decides, this only hides what it would refuse. */
export const may = (right) => state.me?.rights.includes(right) ?? false;

/** What stands behind '#' in a link: `{ enter: token }` or `{ enrol: token }`. */
function fromLink() {
  const [kind, token] = location.hash.slice(1).split('=');
  return ['enter', 'enrol'].includes(kind) && token ? { [kind]: token } : {};
}

/** Find out who is here: by a link that signs in, by the cookie, or nobody yet. */
export async function findPerson() {
  const { enter, enrol } = fromLink();
  if (enter || enrol) history.replaceState(null, '', location.pathname + location.search);
  let words = null;
  try {
    if (enter) await openLink(enter);
  } catch (error) {
    if (!error.words) throw error;
    words = error.words; // a link that was used: whoever used it here is still signed in
  }
  await takeSession({ enrol, words });
}

/** Ask the server who is signed in, until it answers. */
export async function takeSession({ enrol = null, words = null } = {}) {
  try {
    const told = await fetchSession();
    set({
      me: told.person && !enrol ? told : null, door: { ...told, enrol, words: told.person ? null : words }, again: false,
      title: told.title ?? state.title,
    });
  } catch (error) {
    if (!error.words) throw error;
    set({ door: { waiting: true, words: error.words } });
    setTimeout(() => takeSession({ enrol, words }), 2000);
  }
}

/** Say that the person is there while he is, and ask for the password again, or anew, when the server wants it. */
export function watchPerson() {
  let said = 0;
  const here = () => {
    if (Date.now() - said < SEEN_EVERY_MS || !state.me) return;
    said = Date.now();
    sayStillHere();
  };
  for (const kind of ['pointerdown', 'keydown']) document.addEventListener(kind, here, { passive: true });
  onSignedOut((reason) => {
    if (reason === 'idle' || reason === 'prove') set({ again: true });
    else if (state.me) location.reload();
  });
}
