import {html, useEffect, useRef} from './vendor/htm-preact.js';

const height = 180;

const span = 15 * 60; // seconds

// Chart draws lines over the last 15 minutes. data has the times, then the numbers of each of the series.
export function Chart({title, series, data}) {
  const place = useRef(null), plot = useRef(null);
  useEffect(() => {
    const css = getComputedStyle(document.documentElement), color = name => css.getPropertyValue(name).trim();
    const clock = moments => moments.map(at => new Date(at * 1000).toLocaleTimeString('sv').slice(0, 5));
    const axis = {stroke: color('--muted'), grid: {stroke: color('--line'), width: 1}, ticks: {show: false}};
    const width = () => place.current.clientWidth;
    plot.current = new uPlot({
      width: width(), height, cursor: {y: false, drag: {x: false, y: false}}, legend: {live: false},
      scales: {
        x: {range: (_, low, high) => { const end = Math.max(high ?? 0, Date.now() / 1000); return [end - span, end]; }},
        y: {range: (_, low, high) => [0, Math.max(1, high * 1.1)]},
      },
      axes: [{...axis, values: (_, moments) => clock(moments), incrs: [60, 180, 300]}, {...axis, size: 56}],
      series: [{}, ...series.map(s =>
        ({label: s.label, stroke: color(s.color), width: 2, points: {show: false}}))],
    }, data, place.current);
    const resize = new ResizeObserver(() => plot.current.setSize({width: width(), height}));
    resize.observe(place.current);
    return () => { resize.disconnect(); plot.current.destroy(); };
  }, []);
  useEffect(() => plot.current?.setData(data));
  return html`<div class="chart" ref=${place} role="img" aria-label=${title}></div>`;
}
