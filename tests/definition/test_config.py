"""`wave.config.json`: loading, types, warnings, and the merge of its layers. Spec: CFG 3, 4, 5."""

from __future__ import annotations

import json

import pytest

from wave_lib.base.errors import ConfigError
from wave_lib.definition import config_schema
from wave_lib.definition.config import config_from_payload, load_wave_config, resolve_lane, resolve_project
from wave_lib.definition.documents import load_object
from wave_lib.definition.ids import safe_id, sanitize_adhoc_run, sanitize_lane, sanitize_orchestrator_id
from wave_lib.definition.lane_profile import ModeThresholds, active, closure_mode, gate_mode, mode_of
from wave_lib.definition.schema_types import Block, fill
from wave_lib.definition.values import UNSET, as_bool, as_modes, as_repo_path, normalize_endpoint


def lane_of(payload, lane=None, project=None):
    return resolve_lane(config_from_payload("/repo", payload), lane, project)


def refused(payload, *words, lane=None, project=None):
    with pytest.raises(ConfigError) as caught:
        lane_of(payload, lane, project)
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line
    return caught.value


# Loading


def test_without_a_file_everything_has_its_default(tmp_path):
    config = load_wave_config(str(tmp_path))
    profile = resolve_lane(config)
    assert not config.present and config.warnings == ()
    assert (profile.lane, profile.project_id, profile.explicit_project) == ("main", "default", False)
    assert profile.executors["default"] == "codex"
    assert profile.executors["codex"]["sandbox"] == "danger-full-access"
    assert profile.wave_control["endpoint"] is None and profile.wave_control["enabled"] is True


def test_invalid_json_names_file_line_and_column(tmp_path):
    (tmp_path / "wave.config.json").write_text('{ "version": 1,\n oops')
    with pytest.raises(ConfigError) as caught:
        load_wave_config(str(tmp_path))
    assert f"{tmp_path}/wave.config.json:2:2" in str(caught.value)


def test_bytes_that_are_not_utf8_are_an_error_with_their_place(tmp_path):
    (tmp_path / "wave.config.json").write_bytes(b'{\n "projectName": "\xff"}')
    with pytest.raises(ConfigError, match=r":2:18: not UTF-8"):
        load_wave_config(str(tmp_path))


def test_an_unreadable_file_is_an_error(tmp_path):
    (tmp_path / "wave.config.json").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_wave_config(str(tmp_path))


def test_a_byte_order_mark_is_accepted_and_a_doubled_key_is_warned_of(tmp_path):
    (tmp_path / "wave.config.json").write_bytes(b'\xef\xbb\xbf{"projectName": "a", "projectName": "b"}')
    config = load_wave_config(str(tmp_path))
    assert resolve_project(config).project_name == "b"
    assert "projectName" in config.warnings[0]


@pytest.mark.parametrize("text", ["[]", '"x"', "null", "3"])
def test_the_top_level_must_be_an_object(tmp_path, text):
    (tmp_path / "wave.config.json").write_text(text)
    with pytest.raises(ConfigError):
        load_wave_config(str(tmp_path))


def test_unknown_keys_are_warned_of_with_the_nearest_known_key():
    config = config_from_payload("/repo", {"validaton": {}, "lanes": {"api": {"executors": {"codx": {}, "zzz": 1}}}})
    assert config.warnings[0].startswith("unknown key validaton") and "validation" in config.warnings[0]
    assert "lanes.api.executors.codx" in config.warnings[1] and "codex" in config.warnings[1]
    assert config.warnings[2] == "unknown key lanes.api.executors.zzz"


def test_a_newer_version_is_a_warning():
    assert "newer" in config_from_payload("/repo", {"version": 2}).warnings[0]


@pytest.mark.parametrize(
    "payload, label",
    [
        ({"lanes": []}, "lanes"),
        ({"projects": {"a": []}, "defaultProject": "a"}, "projects.a"),
        ({"executors": {"profiles": {"p": 3}}}, "executors.profiles.p"),
        ({"executors": {"codex": "x"}}, "executors.codex"),
    ],
)
def test_a_container_of_the_wrong_type_is_an_error(payload, label):
    refused(payload, label, "must be an object")


def test_null_objects_mean_empty_ones():
    profile = lane_of({"lanes": {"main": None}, "executors": None, "roles": None, "projects": None})
    assert profile.known and not profile.explicit_project


@pytest.mark.parametrize(
    "payload, label",
    [
        ({"lanes": {"Api": {}, "api": {}}}, "lanes"),
        ({"projects": {"a b": {}, "a-b": {}}, "defaultProject": "a-b"}, "projects"),
        ({"executors": {"profiles": {"Deep": {}, " deep ": {}}}}, "executors.profiles"),
    ],
)
def test_two_keys_for_one_id_are_an_error(payload, label):
    refused(payload, label, "two keys")


def test_errors_in_a_lane_nobody_selected_are_reported_on_load():
    refused({"lanes": {"other": {"executors": {"codex": {"sandbox": "open"}}}}}, "lanes.other.executors.codex.sandbox")


# Values


@pytest.mark.parametrize(
    "text, result", [("./.tmp//w/", ".tmp/w"), (".", "."), ("a\\b", "a/b"), ("./", "."), (" docs ", "docs")]
)
def test_paths_are_normalised(text, result):
    assert as_repo_path(text, "paths.stateRoot") == result


@pytest.mark.parametrize("text", ["..", "a/..", "/x", "../x", "a/../b", "C:/x", "\\x", "", " "])
def test_paths_that_leave_the_repository_are_errors(text):
    refused({"paths": {"stateRoot": text}}, "paths.stateRoot")


@pytest.mark.parametrize("word, value", [("Yes", True), ("on", True), (1, True), ("0", False), (" OFF ", False)])
def test_words_for_booleans(word, value):
    assert as_bool(word, "x") is value


@pytest.mark.parametrize(
    "payload, words",
    [
        ({"executors": {"codex": {"search": "maybe"}}}, ("executors.codex.search", "maybe")),
        ({"executors": {"claude": {"maxTurns": "5x"}}}, ("executors.claude.maxTurns", "5x")),
        ({"executors": {"claude": {"maxTurns": 0}}}, ("executors.claude.maxTurns",)),
        ({"executors": {"claude": {"maxTurns": True}}}, ("executors.claude.maxTurns",)),
        ({"executors": {"claude": {"allowedTools": "Read"}}}, ("executors.claude.allowedTools", "list")),
        ({"executors": {"claude": {"effort": "huge"}}}, ("low, medium, high, xhigh, max", "huge")),
        ({"executors": {"opencode": {"attach": "/run/socket"}}}, ("executors.opencode.attach", "URL")),
        ({"executors": {"default": "gpt"}}, ("codex, claude, opencode, local, command",)),
        ({"executors": {"profiles": {"p": {"fallbacks": "codex,nope"}}}}, ("executors.profiles.p.fallbacks[1]",)),
        ({"executors": {"env": {"set": {"A B": "1"}}}}, ("executors.env.set",)),
        ({"validation": {"requireExitContractsFromWave": "soon"}}, ("validation.requireExitContractsFromWave",)),
        ({"validation": {"gateModeThresholds": {"strict": 2.5}}}, ("validation.gateModeThresholds.strict",)),
        ({"validation": {"testCommandTimeout": 0}}, ("validation.testCommandTimeout",)),
        ({"roles": {"evaluatorAgentId": "A0"}}, ("roles.evaluatorAgentId", "roles.contQaAgentId")),
        ({"roles": {"contQaAgentId": "../x"}}, ("roles.contQaAgentId",)),
        ({"roles": {"contQaAgentId": "ORCH"}}, ("roles.contQaAgentId", "reserved")),
        ({"roles": {"contQaAgentId": "A8"}}, ("roles.contQaAgentId", "roles.integrationAgentId")),
        ({"skills": {"byRole": {"implemntation": []}}}, ("skills.byRole.implemntation",)),
        ({"skills": {"byRole": {"evaluator": []}}}, ("skills.byRole.evaluator", "cont-qa")),
        ({"skills": {"byRuntime": {"bash": []}}}, ("skills.byRuntime.bash",)),
        ({"skills": {"base": ["a b"]}}, ("skills.base",)),
        ({"runtimePolicy": {"defaultExecutorByRole": {"evaluator": "codex"}}}, ("cont-qa",)),
        ({"runtimePolicy": {"runtimeMixTargets": {"codex": -1}}}, ("runtimePolicy.runtimeMixTargets.codex",)),
        ({"waveControl": {"credentialProviders": ["context7"]}}, ("waveControl.credentialProviders[0]",)),
        (
            {"waveControl": {"credentials": [{"id": "a", "envVar": "X"}, {"id": "b", "envVar": "x"}]}},
            ("waveControl.credentials[1].envVar",),
        ),
        ({"waveControl": {"credentials": [{"id": "a", "envVar": "LD_PRELOAD"}]}}, ("reserved",)),
        ({"waveControl": {"credentials": [{"id": "a", "envVar": "WAVE_API_TOKEN"}]}}, ("reserved",)),
        (
            {
                "waveControl": {
                    "credentialProviders": ["OpenAI"],
                    "credentials": [{"id": "a", "envVar": "OPENAI_API_KEY"}],
                }
            },
            ("waveControl.credentials[0].envVar", "openai"),
        ),
        ({"waveControl": {"endpoint": "https://u:p@host/x"}}, ("waveControl.endpoint",)),
        ({"externalProviders": {"corridor": {"findingStates": "open"}}}, ("externalProviders.corridor.findingStates",)),
        ({"supervisor": {"leaseSeconds": 3}}, ("supervisor.heartbeatSeconds", "supervisor.leaseSeconds")),
        ({"executors": {"command": {"argv": ["run", "{promt}"]}}}, ("executors.command.argv[1]", "promt")),
        ({"executors": {"command": {"argv": ["run"], "promptTransport": "file"}}}, ("{promptFile}",)),
        ({"defaultProject": "b", "projects": {"a": {}}}, ("defaultProject", "b", "a")),
    ],
)
def test_wrong_values_are_errors_that_name_the_key(payload, words):
    refused(payload, *words)


def test_an_error_does_not_show_the_password_of_a_url():
    assert "hunter2" not in str(refused({"waveControl": {"endpoint": "https://me:hunter2@host/x"}}))


@pytest.mark.parametrize(
    "given, normal",
    [
        ("https://h", "https://h/api/v1"),
        ("https://h/", "https://h/api/v1"),
        ("http://h:8/api/v1/ingest/batches/", "http://h:8/api/v1"),
        ("https://h/x/", "https://h/x"),
        (" ", None),
    ],
)
def test_endpoints_have_one_normal_form(given, normal):
    assert normalize_endpoint(given) == normal


def test_modes_come_as_list_or_text():
    assert as_modes("Codex, claude,", "x") == as_modes(["codex", "claude"], "x") == ["codex", "claude"]
    assert as_modes("", "x") is UNSET


def test_ids():
    assert sanitize_lane(" API v2!! ") == "api-v2"
    assert sanitize_adhoc_run("Fix It!") == "fix-it" and sanitize_adhoc_run("v1.2") == "v1.2"
    assert sanitize_orchestrator_id("My Orch/1") == "My-Orch-1" and len(sanitize_orchestrator_id("x" * 99)) == 64
    for bad in ("", "..", "!!"):
        with pytest.raises(ConfigError):
            sanitize_lane(bad)
    for bad in ("../x", "", "a/b", "-a", "a" * 200, "a\n"):
        with pytest.raises(ConfigError):
            safe_id("run", bad)


# Executors


def test_runtime_objects_have_every_key_in_hashing_order():
    executors = lane_of({}).executors
    assert list(executors) == ["default", "profiles", "codex", "claude", "opencode"]
    assert list(executors["codex"]) == [
        "command",
        "profileName",
        "config",
        "search",
        "images",
        "addDirs",
        "json",
        "ephemeral",
        "sandbox",
    ]
    assert list(executors["opencode"]) == (
        ["command", "model", "agent", "attach", "files", "format", "steps", "instructions", "permission", "configJson"]
    )
    assert list(executors["claude"]) == [
        "command",
        "model",
        "agent",
        "appendSystemPromptMode",
        "permissionMode",
        "permissionPromptTool",
        "effort",
        "maxTurns",
        "mcpConfig",
        "strictMcpConfig",
        "settings",
        "settingsJson",
        "hooksJson",
        "allowedHttpHookUrls",
        "outputFormat",
        "allowedTools",
        "disallowedTools",
    ]


def test_added_keys_are_stored_only_when_they_differ_from_the_default():
    same = lane_of({"executors": {"codex": {"extraArgs": []}, "resumeSessions": True, "env": {"mode": "inherit"}}})
    assert same.executors == lane_of({}).executors
    changed = lane_of(
        {
            "executors": {
                "claude": {"allowRootBypass": True, "extraArgs": ["--x"]},
                "opencode": {"autoApprove": "yes"},
                "resumeLimit": 1,
                "env": {"pass": ["A"]},
                "command": {"argv": ["my-agent", ["--model", "{model}"]]},
            }
        }
    ).executors
    assert list(changed["claude"])[-2:] == ["extraArgs", "allowRootBypass"]
    assert changed["opencode"]["autoApprove"] is True and changed["resumeLimit"] == 1
    assert changed["env"] == {"mode": "inherit", "pass": ["A"], "strip": [], "set": {}}
    assert changed["command"]["argv"] == ["my-agent", ["--model", "{model}"]]
    assert changed["command"]["successExitCodes"] == [0] and changed["command"]["promptTransport"] == "stdin"


def test_a_profile_keeps_only_what_it_sets():
    profile = lane_of(
        {
            "executors": {
                "profiles": {
                    "Deep": {
                        "id": "CLAUDE",
                        "retryPolicy": "sticky",
                        "allowFallbackOnRetry": False,
                        "budget": {"minutes": 5},
                        "claude": {"maxTurns": "12"},
                    },
                    "bare": {"budget": {}},
                }
            }
        }
    ).executors["profiles"]
    deep = profile["deep"]
    assert (deep["id"], deep["retryPolicy"], deep["allowFallbackOnRetry"]) == ("claude", "sticky", False)
    assert deep["budget"] == {"turns": None, "minutes": 5}
    assert deep["claude"]["maxTurns"] == 12 and deep["claude"]["permissionMode"] is None
    assert deep["claude"]["allowedTools"] == [] and "model" not in deep["claude"]
    assert deep["codex"] is None and "command" not in deep
    assert profile["bare"]["budget"] is None and profile["bare"]["fallbacks"] == []


def test_there_is_no_codex_model():
    assert (
        config_from_payload("/r", {"executors": {"codex": {"model": "x"}}})
        .warnings[0]
        .startswith("unknown key executors.codex.model")
    )


# Merging


def test_lists_of_executors_replace_and_omitted_ones_inherit():
    profile = lane_of(
        {
            "executors": {"codex": {"config": "a"}, "claude": {"allowedTools": ["Read"]}, "default": "claude"},
            "lanes": {"main": {"executors": {"codex": {"config": ["b"]}, "default": ""}}},
        }
    )
    assert profile.executors["codex"]["config"] == ["b"]
    assert profile.executors["claude"]["allowedTools"] == ["Read"]
    assert profile.executors["default"] == "claude"


def test_a_profile_of_the_same_name_replaces_the_outer_one():
    profiles = lane_of(
        {
            "executors": {"profiles": {"p": {"id": "codex", "model": "m"}, "q": {"id": "local"}}},
            "lanes": {"main": {"executors": {"profiles": {"P": {"id": "claude"}}}}},
        }
    ).executors["profiles"]
    assert (profiles["p"]["id"], profiles["p"]["model"], profiles["q"]["id"]) == ("claude", None, "local")


def test_nested_validation_blocks_merge_key_by_key():
    validation = lane_of(
        {
            "validation": {
                "autoClosure": {"allowInferredIntegration": True},
                "gateModeThresholds": {"standard": 6},
                "requireExitContractsFromWave": 3,
            },
            "lanes": {
                "main": {
                    "validation": {
                        "autoClosure": {"allowAutoDocNoChange": True},
                        "gateModeThresholds": {"strict": 9},
                        "requireExitContractsFromWave": None,
                    }
                }
            },
        }
    ).validation
    assert validation.auto_closure.allow_inferred_integration and validation.auto_closure.allow_auto_doc_no_change
    assert validation.gate_mode_thresholds == ModeThresholds(0, 6, 9)
    assert validation.require_exit_contracts_from_wave is None
    assert validation.require_context7_declarations_from_wave == 6
    assert validation.bootstrap_pass_conditions.require_tests_pass is True


def test_skills_are_unions_with_sorted_maps():
    skills = lane_of(
        {
            "skills": {"base": ["Y"], "dir": "repo-skills", "byRole": {"security": ["s"], "design": ["d"]}},
            "lanes": {"main": {"skills": {"base": ["x", "y"], "byRole": {"security": ["t", "s"]}}}},
        }
    ).skills
    assert (skills.base, skills.dir) == (("y", "x"), "repo-skills")
    assert list(skills.by_role.items()) == [("design", ("d",)), ("security", ("s", "t"))]


def test_unknown_deploy_kinds_load():
    assert lane_of({"skills": {"byDeployKind": {"railawy": ["a"]}}}).skills.by_deploy_kind == {"railawy": ("a",)}


def test_policy_members_replace_as_a_whole_and_lane_shorthands_win():
    profile = lane_of(
        {
            "runtimePolicy": {"runtimeMixTargets": {"codex": 1, "claude": 2}, "fallbackExecutorOrder": ["claude"]},
            "capabilityRouting": {"preferredAgents": {"SQL": ["A1"], "css": ["A2"]}},
            "lanes": {
                "main": {
                    "runtimePolicy": {"runtimeMixTargets": {"opencode": 5}},
                    "runtimeMixTargets": {"claude": 3},
                    "capabilityRouting": {"preferredAgents": {"Sql": ["A9"]}},
                }
            },
        }
    )
    assert profile.runtime_policy.runtime_mix_targets == {"claude": 3}
    assert profile.runtime_policy.fallback_executor_order == ("claude",)
    assert profile.capability_routing == {"preferredAgents": {"sql": ["A9"]}}


def test_unknown_roles_of_the_runtime_policy_are_warned_of():
    config = config_from_payload(
        "/r", {"runtimePolicy": {"defaultExecutorByRole": {"typo": "codex", "deploy": "local"}}}
    )
    assert config.warnings == ("unknown key runtimePolicy.defaultExecutorByRole.typo",)
    assert resolve_lane(config).runtime_policy.default_executor_by_role == {"deploy": "local"}


def test_the_most_specific_token_variable_decides():
    top = {"authTokenEnvVars": ["A", "B"]}
    assert lane_of({"waveControl": top}).wave_control["authTokenEnvVars"] == ["A", "B"]
    lane = lane_of({"waveControl": top, "lanes": {"main": {"waveControl": {"authTokenEnvVar": "MY"}}}}).wave_control
    assert lane["authTokenEnvVars"] == ["MY", "WAVE_CONTROL_AUTH_TOKEN"]
    both = lane_of({"waveControl": {"authTokenEnvVar": "X", "authTokenEnvVars": ["Y", "Y", "X"]}}).wave_control
    assert both["authTokenEnvVars"] == ["Y", "X"]


def test_a_lane_can_lift_a_disabled_report_mode():
    payload = {
        "waveControl": {"reportMode": "disabled"},
        "lanes": {"loud": {"waveControl": {"reportMode": "metadata-only"}}},
    }
    assert lane_of(payload).wave_control["enabled"] is False
    assert lane_of(payload, "loud").wave_control["enabled"] is True


def test_the_report_project_id():
    assert lane_of({"waveControl": {"projectId": "top"}}).wave_control["projectId"] == "top"
    explicit = {"defaultProject": "app", "projects": {"app": {}, "svc": {"waveControl": {"projectId": "s"}}}}
    explicit["waveControl"] = {"projectId": "top"}
    assert lane_of(explicit).wave_control["projectId"] == "app"
    assert lane_of(explicit, project="svc").wave_control["projectId"] == "s"


def test_corridor_ids_are_checked_on_the_resolved_lane():
    corridor = {"externalProviders": {"corridor": {"enabled": True}}}
    ids = {"externalProviders": {"corridor": {"teamId": "t", "projectId": "p"}}}
    profile = lane_of({**corridor, "defaultProject": "app", "projects": {"app": ids}})
    assert profile.external_providers["corridor"]["findingStates"] == []
    assert profile.external_providers["corridor"]["teamId"] == "t"
    refused(corridor, "externalProviders.corridor.teamId", "externalProviders.corridor.projectId")
    hybrid = lane_of({"externalProviders": {"corridor": {"enabled": True, "mode": "Hybrid"}}})
    assert len(hybrid.warnings) == 1
    assert lane_of({"externalProviders": {"corridor": {"mode": "direct"}}}).warnings == ()


def test_planner_merges_key_by_key_over_projects():
    profile = lane_of(
        {
            "planner": {"agentic": {"defaultMaxWaves": 7, "executorProfile": "Deep"}},
            "defaultProject": "app",
            "projects": {"app": {"planner": {"agentic": {"defaultMaxWaves": 2}}}},
        }
    )
    assert profile.planner["agentic"]["defaultMaxWaves"] == 2
    assert profile.planner["agentic"]["executorProfile"] == "deep"
    assert profile.planner["agentic"]["coreContextPaths"][0] == "AGENTS.md"


def test_supervisor_merges_over_all_layers():
    profile = lane_of({"supervisor": {"leaseSeconds": 30}, "lanes": {"main": {"supervisor": {"keepRuns": 4}}}})
    assert (profile.supervisor["leaseSeconds"], profile.supervisor["keepRuns"]) == (30, 4)
    assert profile.supervisor["maxConcurrentLaunches"] == 4


def test_resolving_twice_gives_equal_profiles_that_share_nothing():
    config = config_from_payload("/r", {"executors": {"codex": {"config": ["a"]}}, "skills": {"base": ["x"]}})
    first = resolve_lane(config)
    first.executors["codex"]["config"].append("b")
    first.wave_control["uploadArtifactKinds"].clear()
    second = resolve_lane(config)
    assert second.executors["codex"]["config"] == ["a"] and second.wave_control["uploadArtifactKinds"]


# Projects, lanes, directories


def test_an_unknown_project_is_an_error():
    payload = {"defaultProject": "app", "projects": {"app": {}, "service": {}}}
    assert "Unknown project: typo" in str(refused(payload, project="typo"))
    assert "did you mean service" in str(refused(payload, project="servise"))
    assert "Unknown project: x" in str(refused({}, project="x"))


def test_project_names_fall_back_to_the_global_name_then_the_id():
    payload = {"defaultProject": "app", "projects": {"app": {}, "svc": {"projectName": "Service"}}}
    assert lane_of(payload).project_name == "app"
    assert lane_of({**payload, "projectName": "All"}).project_name == "All"
    assert lane_of(payload, project="svc").project_name == "Service"
    assert lane_of({}).project_name == "Wave Orchestrator"


def test_directories_of_a_project():
    profile = lane_of({"defaultProject": "service", "projects": {"service": {"rootDir": "services/api"}}})
    assert profile.docs_dir == "services/api/docs" and profile.waves_dir == "services/api/docs/plans/waves"
    assert profile.paths.component_cutover_matrix_json_path == ("services/api/docs/plans/component-cutover-matrix.json")
    assert profile.paths.benchmark_catalog_path == "docs/evals/benchmark-catalog.json"
    assert profile.shared_plan_docs == tuple(
        f"services/api/docs/plans/{name}.md" for name in ("current-state", "master-plan", "migration")
    )


def test_directories_of_a_lane():
    assert lane_of({"repoMode": "multi-lane"}, "api").docs_dir == "docs/api"
    api = lane_of({"repoMode": "multi-lane"}, "api")
    assert api.waves_dir == "docs/api/plans/waves"
    assert api.paths.component_cutover_matrix_json_path == "docs/plans/component-cutover-matrix.json"
    assert lane_of({"repoMode": "multi-lane"}).docs_dir == "docs/main"
    assert lane_of({}).docs_dir == "docs" and lane_of({}, "api").docs_dir == "docs/api"
    assert lane_of({"paths": {"docsDir": "."}}).waves_dir == "plans/waves"
    own = lane_of({"sharedPlanDocs": ["x.md"], "lanes": {"api": {"plansDir": "p/", "sharedPlanDocs": []}}}, "api")
    assert (own.waves_dir, own.shared_plan_docs) == ("p/waves", ())
    assert lane_of({"sharedPlanDocs": ["x.md"]}).shared_plan_docs == ("x.md",)


def test_the_lane_object_of_the_project_beats_the_top_level_one():
    payload = {
        "defaultProject": "app",
        "lanes": {"api": {"docsDir": "top"}, "web": {"docsDir": "top-web"}},
        "projects": {"app": {"lanes": {"api": {"docsDir": "own"}}}},
    }
    assert lane_of(payload, "api").docs_dir == "own" and lane_of(payload, "web").docs_dir == "top-web"


def test_default_lane_is_used_without_a_lane():
    assert lane_of({"defaultLane": "Trunk"}).lane == "trunk"


# Thresholds


def test_modes_of_waves():
    assert [mode_of(ModeThresholds(0, 4, 10), wave) for wave in (3, 4, 9, 10)] == (
        ["bootstrap", "standard", "standard", "strict"]
    )
    assert mode_of(ModeThresholds(6, 4, 10), 5) == "bootstrap"
    assert mode_of(ModeThresholds(6, 4, 10), 6) == "standard"
    assert mode_of(ModeThresholds(0, 20, 10), 15) == "bootstrap" and mode_of(ModeThresholds(0, 20, 10), 20) == "strict"


def test_gate_mode_without_thresholds_is_strict_closure_mode_has_defaults():
    validation = lane_of({}).validation
    assert [gate_mode(validation, 0), closure_mode(validation, 0)] == ["strict", "bootstrap"]
    partial = lane_of({"validation": {"gateModeThresholds": {"strict": 12}}}).validation
    assert [gate_mode(partial, wave) for wave in (0, 4, 12)] == ["bootstrap", "standard", "strict"]


def test_thresholds():
    assert active(0, 0) and active(3, 4) and not active(3, 2) and not active(None, 9)


# The table itself


def test_the_table_is_described_once_and_every_default_passes_its_own_check():
    rows = config_schema.describe()
    keys = [row.key for row in rows]
    assert len(keys) == len(set(keys)) and all(row.text for row in rows if "<" not in row.key.rsplit(".", 1)[-1])
    by_key = {row.key: row for row in rows}
    assert by_key["roles.contQaAgentId"].layers == ("global", "project", "lane")
    assert by_key["updateCheck.url"].layers == ("global",)
    assert by_key["rootDir"].layers == ("project",) and by_key["wavesDir"].layers == ("lane",)
    assert by_key["supervisor.leaseSeconds"].default == "15"


def test_written_out_defaults_resolve_to_the_same_profile():
    blocks = (
        "roles",
        "executors",
        "skills",
        "runtimePolicy",
        "externalProviders",
        "supervisor",
        "planner",
        "validation",
    )
    fields = config_schema.TOP.fields
    payload = {name: fill(fields[name], {}) for name in blocks if isinstance(fields[name], Block)}
    del payload["validation"]["gateModeThresholds"]
    assert lane_of(json.loads(json.dumps(payload))) == lane_of({})


@pytest.mark.parametrize("text", ["[" * 100_000, '{"version": ' + "9" * 5000 + "}"])
def test_json_that_no_parser_takes_is_one_line(tmp_path, text):
    (tmp_path / "wave.config.json").write_text(text)
    with pytest.raises(ConfigError, match="wave.config.json: "):
        load_wave_config(str(tmp_path))
    with pytest.raises(ConfigError, match="wave.config.json: "):
        load_object(str(tmp_path / "wave.config.json"), "wave.config.json", "Thing")
