"""The language of conditions and texts in playbooks; `opsdoc.playbook.expressions` is its door."""
