"""Tasks of lm-evaluation-harness on files that are written here."""

import json

QUESTIONS = (
    ("What is 2 plus 3?", ("four", "five", "six apples"), 1),
    ("Where does the cat sit?", ("on the mat", "in the garden", "home"), 0),
    ("How many miles in three hours? ", ("60", "180", "42"), 1),
    ("Who has ten apples?", ("She", "The dog", "A train"), 0),
    ("", ("nothing", "something else"), 0),
)
LETTERS = ("A", "B", "C")
TEXTS = (
    "The cat sat on the mat while the dog was in the garden.",
    "x",
    "A train goes 60 miles in one hour; " * 6,
    "Grüße, 世界! Two plus three is five.\n\nThe answer is 20.",
)

HEAD = """task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: {kind}
"""

TASKS = {
    "tiny_choice": (
        "multiple_choice",
        """doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: label
metric_list:
  - metric: acc
  - metric: acc_norm
""",
    ),
    "tiny_letters": (
        "multiple_choice",
        """doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: ["A", "B", "C"]
doc_to_target: label
num_fewshot: 2
fewshot_split: test
fewshot_config:
  sampler: first_n
metric_list:
  - metric: acc
""",
    ),
    "tiny_last_word": (
        "loglikelihood",
        """doc_to_text: "{{question}}"
doc_to_target: " {{choices[0]}}"
metric_list:
  - metric: perplexity
  - metric: acc
""",
    ),
    "tiny_rolling": (
        "loglikelihood_rolling",
        """doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - metric: word_perplexity
  - metric: byte_perplexity
  - metric: bits_per_byte
""",
    ),
    "tiny_generate": (
        "generate_until",
        """doc_to_text: "{{question}} And then"
doc_to_target: "{{choices[0]}}"
generation_kwargs:
  until: ["\\n", "e"]
  max_gen_toks: 20
metric_list:
  - metric: exact_match
""",
    ),
    "tiny_long": (
        "generate_until",
        """doc_to_text: "{{question}}"
doc_to_target: "{{choices[0]}}"
generation_kwargs:
  until: []
  do_sample: false
  max_gen_toks: 40
metric_list:
  - metric: exact_match
""",
    ),
}


def write_tasks(folder):
    """A YAML file and a data file for each task; returns the YAML files by name."""
    files = {}
    for name, (kind, body) in TASKS.items():
        rows = [
            {"question": question, "choices": list(choices), "label": label}
            for question, choices, label in QUESTIONS
            if question or kind == "multiple_choice"
        ]
        if kind == "loglikelihood_rolling":
            rows = [{"text": text} for text in TEXTS]
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        files[name] = folder / f"{name}.yaml"
        files[name].write_text(HEAD.format(name=name, data=data, kind=kind) + body)
    return files
