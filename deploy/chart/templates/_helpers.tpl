{{- /* SPDX-License-Identifier: Apache-2.0 */ -}}

{{- define "weir.labels" -}}
app.kubernetes.io/name: weir
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "weir.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* The folders of the presets; the agent knows the same ones. */ -}}
{{- define "weir.confDir" -}}
{{- $dirs := dict "k3s" "/var/lib/rancher/k3s/agent/etc/cni/net.d" "k3d" "/var/lib/rancher/k3s/agent/etc/cni/net.d" "microk8s" "/var/snap/microk8s/current/args/cni-network" -}}
{{- .Values.cni.confDir | default (get $dirs .Values.cni.preset) | default "/etc/cni/net.d" -}}
{{- end }}

{{- define "weir.binDir" -}}
{{- $dirs := dict "debian" "/usr/lib/cni" "gke" "/home/kubernetes/bin" "k3s" "/var/lib/rancher/k3s/data/cni" "k3d" "/bin" "microk8s" "/var/snap/microk8s/current/opt/cni/bin" -}}
{{- .Values.cni.binDir | default (get $dirs .Values.cni.preset) | default "/opt/cni/bin" -}}
{{- end }}

{{- define "weir.cniArgs" -}}
- --cni-preset={{ .Values.cni.preset }}
{{- if ne .Values.cni.preset "none" }}
- --cni-conf-dir={{ include "weir.confDir" . }}
- --cni-bin-dir={{ include "weir.binDir" . }}
{{- end }}
{{- end }}

{{- /* Mounts that the agent and the cleanup share. Where the node has no BPF file
system mounted, the agent mounts it, and that must reach the node: pins in a
container's own would go with it. */ -}}
{{- define "weir.mounts" -}}
- name: bpf
  mountPath: /sys/fs/bpf
  mountPropagation: Bidirectional
- name: state
  mountPath: /var/lib/weir
{{- if ne .Values.cni.preset "none" }}
- name: cni-conf
  mountPath: {{ include "weir.confDir" . }}
- name: cni-bin
  mountPath: {{ include "weir.binDir" . }}
{{- end }}
{{- end }}

{{- define "weir.volumes" -}}
- name: bpf
  hostPath: {path: /sys/fs/bpf, type: Directory}
- name: state
  hostPath: {path: /var/lib/weir, type: DirectoryOrCreate}
{{- if ne .Values.cni.preset "none" }}
- name: cni-conf
  hostPath: {path: {{ include "weir.confDir" . }}, type: DirectoryOrCreate}
- name: cni-bin
  hostPath: {path: {{ include "weir.binDir" . }}, type: DirectoryOrCreate}
{{- end }}
{{- end }}

{{- /* Where a pod of each node runs. */ -}}
{{- define "weir.placement" -}}
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
priorityClassName: {{ .Values.priorityClassName }}
nodeSelector:
  kubernetes.io/os: linux
  {{- with .Values.nodeSelector }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
tolerations:
  {{- toYaml .Values.tolerations | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* BPF programs, netfilter, qdiscs of the node, files of root. */ -}}
{{- define "weir.security" -}}
securityContext:
  privileged: true
  runAsUser: 0
{{- end }}
