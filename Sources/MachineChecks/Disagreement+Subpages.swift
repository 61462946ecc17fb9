import HardwareModel

extension Disagreement {
  /// A case of sub-page write permissions on which the rules and the hardware model differ.
  init(
    _ sweep: SubpageSweep, _ setting: SubpageSetting, _ one: SubpageCase, _ rule: RuleCase,
    place: (setting: UInt64, instance: UInt64), _ ours: SubpageAnswer, _ theirs: SubpageAnswer
  ) {
    let address =
      one.looseAddress != 0 ? one.looseAddress : SubpageSetting.page | one.offset
    var lines = ["access: \(one.kind) of \(one.byteCount) bytes at \(hex(address))"]
    if setting.use == .table { lines[0] += ", an entry of the guest's tables" }
    if setting.use == .physical { lines[0] += ", without a linear address" }
    let marks = setting.hasMarks ? ", accessed and dirty bits" : ""
    lines.append(
      "control: \(setting.isEnabled ? 1 : 0), MAXPHYADDR \(setting.physicalBits)\(marks)")
    for depth in stride(from: setting.levels, through: one.leafDepth, by: -1) {
      lines.append("level \(depth) EPT entry: \(hex(one.extended[depth - 1]))")
    }
    for depth in [4, 3, 2] {
      lines.append("level \(depth) sub-page entry: \(hex(one.entries[depth - 1]))")
    }
    lines.append("vector: \(hex(one.entries[0]))")
    lines.append("MMU: \(ours.ending)")
    lines.append("hardware model: \(theirs.ending)")
    for depth in stride(from: setting.levels, through: one.leafDepth, by: -1) {
      let (here, there) = (ours.extended[depth - 1], theirs.extended[depth - 1])
      guard here != there else { continue }
      lines.append("level \(depth) entry after: MMU \(hex(here)), hardware model \(hex(there))")
    }
    self.init(.subpages, sweep.name, rule, place: place, lines)
  }
}
