// The calls that Ollama reads in a model's answer, by its own package and the model's template.
//
// JSON lines in and out: {"template", "tools", "answer"} gives {"calls": [{"name", "arguments"}], "rest"}.
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"

	"github.com/ollama/ollama/api"
	"github.com/ollama/ollama/harmony"
	"github.com/ollama/ollama/template"
	"github.com/ollama/ollama/tools"
)

// read is what Ollama's server does: models with harmony's marks have a parser of their own.
func read(parsed *template.Template, known api.Tools, answer string) ([]api.ToolCall, string) {
	if !parsed.Contains("<|start|>") || !parsed.Contains("<|end|>") {
		return tools.NewParser(parsed.Template, known).Add(answer)
	}
	handler := harmony.NewHarmonyMessageHandler()
	handler.Init(known, nil, nil)
	rest, _, calls, err := handler.Add(strings.TrimSuffix(answer, "<|call|>"), true)
	if err != nil {
		panic(err)
	}
	return calls, rest
}

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<24)
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		var query struct {
			Template, Answer string
			Tools            api.Tools
		}
		if err := json.Unmarshal(in.Bytes(), &query); err != nil {
			panic(err)
		}
		parsed, err := template.Parse(query.Template)
		if err != nil {
			panic(err)
		}
		calls, rest := read(parsed, query.Tools, query.Answer)
		functions := []any{}
		for _, call := range calls {
			functions = append(functions, map[string]any{"name": call.Function.Name, "arguments": call.Function.Arguments})
		}
		if err := out.Encode(map[string]any{"calls": functions, "rest": rest}); err != nil {
			panic(err)
		}
	}
}
