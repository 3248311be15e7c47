{{/*
A page of pages.yaml, with nothing in it that is fetched from anywhere.
*/}}
{{- define "gateway.page" -}}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ .title }}</title>
<link rel="icon" href="data:,">
<style>
:root { --page: #f4f6f8; --card: #fff; --line: #d9dfe6; --ink: #17202a; --quiet: #5b6875; --link: #0b5cad; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --page: #0e1318; --card: #171e25; --line: #2b3540; --ink: #e6ebf0; --quiet: #98a5b2; --link: #7ab8f5; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 8vh 16px 32px; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; }
main { max-width: 660px; margin: 0 auto; padding: 26px 30px; border: 1px solid var(--line); border-left: 6px solid var(--link); border-radius: 10px; background: var(--card); }
h1 { margin: 0 0 6px; font-size: 26px; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 22px 0 6px; font-size: 15px; }
p { margin: 0; }
pre { margin: 0; padding: 10px 14px; border-radius: 8px; background: var(--page); white-space: pre-wrap; overflow-wrap: anywhere; }
pre, code { font: 13.5px/1.7 ui-monospace, "DejaVu Sans Mono", monospace; }
dl { display: grid; grid-template-columns: auto 1fr; gap: 2px 18px; margin: 0; }
dt { overflow-wrap: anywhere; }
dd { margin: 0; }
dd, .end { color: var(--quiet); }
.end { margin-top: 22px; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
@media (max-width: 560px) { body { padding-top: 16px; } main { padding: 18px; } dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; } }
</style>
</head>
<body>
<main>
<h1>{{ .title }}</h1>
<p>{{ .what }}</p>
<h2>Look with</h2>
<pre>{{ join "\n" .look }}</pre>
{{- with .ask }}
<h2>Ask it</h2>
<dl>
{{- range $path, $answer := . }}
<dt><a href="{{ $path }}"><code>{{ $path }}</code></a></dt><dd>{{ $answer }}</dd>
{{- end }}
</dl>
{{- end }}
<p class="end">{{ .end }}</p>
</main>
</body>
</html>
{{ end -}}
