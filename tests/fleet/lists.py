"""Lists of nodes in the forms that kubectl, Ansible and people write them; node names are made up."""

from __future__ import annotations

import json

UNAME = "Linux {name} 6.1.0-47-cloud-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.170-3 (2026-05-08) x86_64 GNU/Linux"
WIDE = """\
NAME        STATUS   ROLES           AGE    VERSION   INTERNAL-IP   EXTERNAL-IP   OS-IMAGE                        KERNEL-VERSION                 CONTAINER-RUNTIME
plane-1     Ready    control-plane   412d   v1.29.4   10.20.0.11    <none>        Ubuntu 22.04.4 LTS              5.15.0-107-generic             containerd://1.7.13
worker-01   Ready    <none>          201d   v1.29.4   10.20.1.21    <none>        Debian GNU/Linux 12 (bookworm)  6.1.0-47-amd64                 containerd://1.7.13
worker-02   Ready    <none>          201d   v1.29.4   10.20.1.22    <none>        Debian GNU/Linux 12 (bookworm)  6.1.0-47-amd64                 containerd://1.7.13
"""
LIST = {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}}


def kubernetes(name: str, kernel: str | None, arch: str = "amd64", system: str = "linux") -> dict[str, object]:
    info = {"architecture": arch, "kernelVersion": kernel, "operatingSystem": system, "osImage": "An OS 12.5"}
    status = {} if kernel is None else {"nodeInfo": info}
    return {"kind": "Node", "metadata": {"name": name, "uid": "0-1"}, "status": status}


def facts(kernel: str, build: str = "#1 SMP x", arch: str = "x86_64", prefix: str = "ansible_") -> dict[str, object]:
    values = {"kernel": kernel, "kernel_version": build, "architecture": arch, "system": "Linux", "nodename": "own"}
    return {"ansible_facts": {f"{prefix}{key}": value for key, value in values.items()}, "changed": False}


def page(name: str, more: str = "") -> str:
    """A list of one node, with the `continue` of a longer list."""
    items = [kubernetes(name, "6.8.0-35-generic")]
    return json.dumps({**LIST, "metadata": {"continue": more}, "items": items})
