package main

// Sample stands for the structs that templates see: typed fields, pointers, messages with getters, enums.
type Sample struct {
	Name    string            `json:"name"`
	Count   int64             `json:"count"`
	Small   uint32            `json:"small"`
	Ratio   float64           `json:"ratio"`
	On      bool              `json:"on"`
	Labels  map[string]string `json:"labels"`
	Args    []string          `json:"args"`
	Numbers []int64           `json:"numbers"`
	Any     any               `json:"any"`
	Limit   *int64            `json:"limit"`
	Note    *string           `json:"note"`
	Spec    Spec              `json:"spec"`
	Ref     *Spec             `json:"ref"`
	Specs   []Spec            `json:"specs"`
	Config  *Config           `json:"config"`
}

// Spec is a struct without methods.
type Spec struct {
	Image string `json:"image"`
	Port  int64  `json:"port"`
	Inner *Spec  `json:"inner"`
}

// Config has getters as protobuf generates them.
type Config struct {
	Address string  `json:"address"`
	Mode    Mode    `json:"mode"`
	Next    *Config `json:"next"`
	Hold    *Hold   `json:"hold"`
}

// GetAddress is nil-safe.
func (c *Config) GetAddress() string {
	if c == nil {
		return ""
	}
	return c.Address
}

// GetMode is nil-safe.
func (c *Config) GetMode() Mode {
	if c == nil {
		return 0
	}
	return c.Mode
}

// GetNext is nil-safe.
func (c *Config) GetNext() *Config {
	if c == nil {
		return nil
	}
	return c.Next
}

// GetHold is nil-safe.
func (c *Config) GetHold() *Hold {
	if c == nil {
		return nil
	}
	return c.Hold
}

// Mode is an enum; JSON has its name.
type Mode int32

var modes = []string{"REDIRECT", "TPROXY", "NONE"}

func (m Mode) String() string { return modes[m] }

// UnmarshalText reads a name.
func (m *Mode) UnmarshalText(text []byte) error {
	for i, name := range modes {
		if name == string(text) {
			*m = Mode(i)
		}
	}
	return nil
}

// Hold is a wrapped bool: a message with one value, a bare bool in JSON.
type Hold struct{ Value bool }

// GetValue is nil-safe.
func (h *Hold) GetValue() bool { return h != nil && h.Value }

// UnmarshalJSON reads a bare bool.
func (h *Hold) UnmarshalJSON(text []byte) error {
	h.Value = string(text) == "true"
	return nil
}
