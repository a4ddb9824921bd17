import Settings

/// The plan that `text` resolves to.
func plan(_ text: String, data: String? = nil) throws -> ResolvedPlan {
  try PlanResolver.resolve(text: text, path: "test.json", dataOverride: data).plan
}

/// A preset as the benchmark runs it: 4 slices of the yardstick's sequences.
func benchmark(_ preset: ModelPreset) throws -> ResolvedPlan {
  try plan("{\"shape\": \"\(preset.rawValue)\", \"batch\": {\"slices\": 4}}", data: "text")
}
