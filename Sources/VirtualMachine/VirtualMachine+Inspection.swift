import DirectMMU
public import HardwareModel
public import PageTables
public import PagingUnits
public import ShadowMMU

/// What of its processors a machine shows to those who check it; for a machine at rest.
extension VirtualMachine {
  /// The root that a processor's hardware walks; `.none` when it has loaded none.
  public func root(of number: Int) -> ShadowPageID {
    // SAFETY: nobody runs the processor of a machine at rest.
    unsafe processor(number).pointee.root
  }

  /// What a processor's hardware walks in the second dimension; `nil` while it has no root.
  public func secondDimension(of number: Int) -> SecondDimension? {
    let root = root(of: number)
    return root == .none ? nil : secondDimension(of: root)
  }

  /// The table at which a processor's hardware starts its walks under shadow paging, and its level;
  /// `nil` while it has no root.
  public func shadowRoot(of number: Int) -> (frame: HostFrame, level: Level)? {
    // SAFETY: nobody runs the processor of a machine at rest.
    let processor = unsafe processor(number)
    guard let frame = unsafe shadow.rootFrame(processor.pointee.shadow, tables) else { return nil }
    return unsafe (frame, processor.pointee.shadow.rootRole.level)
  }

  /// Looks at what the shadow MMU keeps for a processor.
  public func withShadowState<Result>(
    of number: Int, _ body: (borrowing ShadowState) -> Result
  ) -> Result {
    // SAFETY: nobody runs the processor of a machine at rest.
    unsafe body(processor(number).pointee.shadow)
  }

  /// How many tables a processor has in stock.
  public func stockCount(of number: Int) -> Int {
    // SAFETY: nobody runs the processor of a machine at rest.
    unsafe processor(number).pointee.faultState.cache.count
  }

  /// The table in a place of a processor's stock, 0..<stockCount.
  public func stockedTable(_ position: Int, of number: Int) -> ShadowPageID {
    // SAFETY: nobody runs the processor of a machine at rest.
    unsafe processor(number).pointee.faultState.cache[position]
  }
}
