// Texts on the page that are hard to read: contrast below 4.5 (WCAG 2.2, 1.4.3), 3 for large ones.
() => {
  const pixel = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    pixel.clearRect(0, 0, 1, 1);
    pixel.fillStyle = colour;
    pixel.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pixel.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((c, i) => c * a + below[i] * (1 - a));
  const luminance = (colour) => {
    const [r, g, b] = colour.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  // All colours that may lie below an element: a gradient counts with each of its own.
  const grounds = (element) => {
    if (element === null) return [rgba(matchMedia("(prefers-color-scheme: dark)").matches ? "#121212" : "#fff").slice(0, 3)];
    const style = getComputedStyle(element);
    const stops = style.backgroundImage.match(/(rgba?|color)\([^)]*\)/g) ?? [];
    const painted = stops.length ? stops : [style.backgroundColor];
    if (painted.every((colour) => rgba(colour)[3] === 1)) return painted.map((colour) => rgba(colour).slice(0, 3));
    return grounds(element.parentElement).flatMap((below) => painted.map((colour) => over(rgba(colour), below)));
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const poor = new Map();
  let seen = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    seen += 1;
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    let opacity = 1;
    for (let it = element; it; it = it.parentElement) opacity *= getComputedStyle(it).opacity;
    const ink = rgba(style.color);
    ink[3] *= opacity;
    const worst = Math.min(...grounds(element).map((below) => ratio(over(ink, below), below)));
    if (worst < least) poor.set(`${element.tagName}.${element.className}: ${worst.toFixed(2)}`, walker.currentNode.data.trim());
  }
  return { seen, poor: Object.fromEntries(poor) };
}
