{{- define "amp.labels" -}}
app.kubernetes.io/name: amp
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
