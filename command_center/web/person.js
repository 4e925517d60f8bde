/** The name of the person at this screen, remembered where the browser may remember. */
const NAME_KEY = 'yemai.name';

export function rememberedName() {
  try {
    return localStorage.getItem(NAME_KEY) ?? '';
  } catch {
    return '';
  }
}

export function remember(name) {
  try {
    localStorage.setItem(NAME_KEY, name);
  } catch {
    // A kiosk may forbid storage: the name is then asked for each time.
  }
}
