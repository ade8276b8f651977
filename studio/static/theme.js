// Light or dark, before the first paint: what was chosen here, else what the system prefers.
const theme = localStorage.getItem("studio-theme");
if (theme) document.documentElement.dataset.theme = theme;
