// The calls that Ollama reads in a model's answer, by its own package and the model's template.
//
// JSON lines in and out: {"template", "tools", "answer"} gives {"calls": [{"name", "arguments"}], "rest"}.
package main

import (
	"bufio"
	"encoding/json"
	"os"

	"github.com/ollama/ollama/api"
	"github.com/ollama/ollama/template"
	"github.com/ollama/ollama/tools"
)

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
		calls, rest := tools.NewParser(parsed.Template, query.Tools).Add(query.Answer)
		functions := []any{}
		for _, call := range calls {
			functions = append(functions, map[string]any{"name": call.Function.Name, "arguments": call.Function.Arguments})
		}
		if err := out.Encode(map[string]any{"calls": functions, "rest": rest}); err != nil {
			panic(err)
		}
	}
}
