// Says what keeps the page from starting. A classic script in old JavaScript: modules start neither from file:// nor in old browsers.

document.documentElement.className = 'runs';

/** Shows a line over the image, and a button to try again where that may help; '' takes it away. */
function problem(text, isFinal) {
  var bar = document.getElementById('problem');
  bar.hidden = !text;
  bar.firstChild.textContent = text + ' ' + forbidden;
  bar.lastChild.hidden = isFinal;
  bar.lastChild.onclick = function () { location.reload(); };
  if (text) document.getElementById('loading').hidden = true;
}

function tooOld() {
  problem('This browser is too old for the page, or its WebAssembly is turned off.', true);
}

var forbidden = '';  // what the host's Content-Security-Policy has refused

document.addEventListener('securitypolicyviolation', function (event) {
  forbidden = 'This host’s Content-Security-Policy refuses ' + event.blockedURI + ' (' + event.effectiveDirective +
    '). The page needs: default-src \'self\'; script-src \'self\' \'wasm-unsafe-eval\'.';
  document.querySelector('#problem p').textContent += ' ' + forbidden;
});

window.addEventListener('error', function (event) {
  if (event.target.src) problem('A part of this page could not be fetched: ' + event.target.src.split('/').pop() + ', or what it imports.');
  else if (/SyntaxError/.test(event.message)) tooOld();
}, true);

document.addEventListener('DOMContentLoaded', function () {
  if (location.protocol === 'file:') {
    problem('Open this page through a server: from a file a browser lets it read no model. In the export folder: ' +
      'python -m http.server --bind 127.0.0.1, then http://127.0.0.1:8000/web/; or put it on any static host.', true);
  } else if (!('noModule' in HTMLScriptElement.prototype && window.WebAssembly)) {
    tooOld();
  }
});
