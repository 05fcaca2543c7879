// What Kubernetes makes of label selectors: which texts decode, which selectors are valid, which are empty, what they match.
package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

//go:embed corpus.json
var corpusText []byte

type corpus struct {
	Labels    []labels.Set `json:"labels"`
	Keys      []string     `json:"keys"`
	Operators []string     `json:"operators"`
	Values    [][]string   `json:"values"`
	Selectors []string     `json:"selectors"`
}

type row struct {
	Selector string `json:"selector"`
	Decodes  bool   `json:"decodes"`
	Valid    bool   `json:"valid"`
	Empty    bool   `json:"empty"`
	// One letter per label set of the corpus: y or n.
	Matches string `json:"matches"`
}

func main() {
	var c corpus
	if err := json.Unmarshal(corpusText, &c); err != nil {
		panic(err)
	}
	texts := c.Selectors
	for _, key := range c.Keys {
		for _, operator := range c.Operators {
			for _, values := range c.Values {
				texts = append(texts, requirement(key, operator, values))
			}
		}
	}
	rows := make([]row, 0, len(texts))
	for _, text := range texts {
		rows = append(rows, ask(text, c.Labels))
	}
	fmt.Printf("{\"labels\":%s,\"rows\":[\n", encoded(c.Labels))
	for i, row := range rows {
		separator := ","
		if i == len(rows)-1 {
			separator = ""
		}
		fmt.Printf("%s%s\n", encoded(row), separator)
	}
	fmt.Println("]}")
}

func encoded(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func requirement(key, operator string, values []string) string {
	all := map[string]any{"key": key, "operator": operator}
	if values != nil {
		all["values"] = values
	}
	return encoded(map[string]any{"matchExpressions": []any{all}})
}

func ask(text string, sets []labels.Set) row {
	answer := row{Selector: text}
	// A list of selectors, as the injector has them: a null in it is a zero selector.
	var selectors []metav1.LabelSelector
	list := fmt.Sprintf("- %s\n", strings.ReplaceAll(text, "\n", "\n  "))
	if err := yaml.Unmarshal([]byte(list), &selectors); err != nil || len(selectors) != 1 {
		return answer
	}
	answer.Decodes = true
	selector, err := metav1.LabelSelectorAsSelector(&selectors[0])
	if err != nil {
		return answer
	}
	answer.Valid = true
	answer.Empty = selector.Empty()
	for _, set := range sets {
		letter := "n"
		if selector.Matches(set) {
			letter = "y"
		}
		answer.Matches += letter
	}
	return answer
}
