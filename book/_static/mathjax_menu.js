// What MathJax needs from this book: a menu without dead entries, and formulas that fit a phone.
//
// The book serves MathJax's CommonHTML output, its accessibility tools and the English speech rules.
// Menu entries that would ask for anything else are switched off.  Runs after the page's inline
// configuration and before MathJax itself (both this file and MathJax are deferred, in this order).
(function () {
  "use strict";
  if (!window.MathJax) {
    return;
  }
  function restrictMenu() {
    var holder = MathJax.startup.document && MathJax.startup.document.menu;
    if (!holder) {
      return;
    }
    [["Settings", "Renderer"], ["Accessibility", "Speech", "A11yLanguage"]].forEach(function (path) {
      var item = holder.menu.findID.apply(holder.menu, path);
      if (item) {
        item.disable();
      }
    });
    // Speech and exploration load on demand; the first rendering must wait for them (MathJax 3.2.2
    // throws its retry away here, and every formula of the page would vanish).
    var rerender = holder.rerender;
    holder.rerender = function (start) {
      return MathJax._.mathjax.mathjax.handleRetriesFor(function () {
        return rerender.call(holder, start);
      });
    };
    document.documentElement.dataset.mathjaxMenu = "restricted";
  }
  // A formula within a line that is longer than the line scrolls in its own box (qtheory.css).
  function markWide() {
    document.querySelectorAll("mjx-container:not([display])").forEach(function (formula) {
      var block = formula.closest("p, dd, dt, li, td, th, figcaption, div");
      var inner = formula.querySelector("mjx-math");
      if (block && inner) {
        formula.classList.toggle("qt-wide", inner.getBoundingClientRect().width > block.clientWidth);
      }
    });
  }
  var waiting;
  window.addEventListener("resize", function () {
    clearTimeout(waiting);
    waiting = setTimeout(markWide, 100);
  });
  var startup = window.MathJax.startup || {};
  startup.pageReady = function () {
    return MathJax.startup.defaultPageReady().then(restrictMenu).then(markWide);
  };
  window.MathJax.startup = startup;
})();
